# SPDX-License-Identifier: GPL-2.0
#
# For the lab: QEMU, Xen, Dom0 and guests. Needs a Debian 12 or 13 machine and root; Documentation/lab.md tells more.
# The modules are built by Kbuild, which the kernel's own makefiles read.

LAB := tests/lab/enter
FRONT ?= rust
KVER ?=
ONLY ?=

common := --front $(FRONT) $(if $(KVER),--kver '$(KVER)')
only := $(if $(ONLY),--only '$(ONLY)')

help:
	@echo 'make demo         show the stack at work; pictures go to out/demo'
	@echo 'make check        the tests of every landing; logs go to out/check'
	@echo 'make check-full   all tests, with those that take long'
	@echo 'make check-debug  scenarios in guests whose kernel watches itself; logs go to out/check-debug'
	@echo 'make check-mutants  broken modules, which the tests must see; logs go to out/check-mutants'
	@echo 'make bench-zcopy  what a frame costs, copied and not; goes to out/bench-zcopy'
	@echo 'make list         the names of the tests'
	@echo 'make module       build the modules and say where they are'
	@echo 'make prepare      fetch and build all that the others need'
	@echo 'make try RUN=...  run a command line in a guest with a display'
	@echo 'make shell        a shell in the Debian 13 root that all is built in'
	@echo
	@echo 'ONLY=NAME[,NAME]  only the tests whose name is or contains NAME'
	@echo 'FRONT=c           with the C frontend of the stock kernel, as a reference'
	@echo 'KVER=RELEASE      for another Debian kernel'
	@echo 'LAB_CACHE=DIR     where what is fetched and built is kept (about 15 GB)'

demo:
	@$(LAB) demo $(common)

check:
	@$(LAB) check $(common) $(only)

check-full:
	@$(LAB) check --full $(common) $(only)

check-debug:
	@$(LAB) check-debug $(if $(KVER),--kver '$(KVER)') $(only)

check-mutants:
	@$(LAB) check-mutants $(if $(KVER),--kver '$(KVER)') $(only)

bench-zcopy:
	@$(LAB) bench-zcopy $(common) $(only)

list:
	@$(LAB) list

module:
	@$(LAB) module $(common)

prepare:
	@$(LAB) prepare $(common)

try:
	@$(LAB) try $(common) '$(RUN)'

shell:
	@$(LAB) --shell

clean:
	rm -rf out

.PHONY: help demo check check-full check-debug check-mutants bench-zcopy list module prepare try shell clean
