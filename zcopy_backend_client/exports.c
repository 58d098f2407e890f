// SPDX-License-Identifier: GPL-2.0
/*
 * What other modules may use of this one: its Rust interface, the bindings' and Xen's helpers. The list is made at build time from the
 * objects' symbols. Modules that use it are built together with it: the symbols' names do not tell that a type has changed.
 */

#include <linux/export.h>

#define EXPORT(symbol) extern int symbol; EXPORT_SYMBOL_GPL(symbol)

#include "exports.h"
