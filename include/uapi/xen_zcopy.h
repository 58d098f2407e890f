/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * /dev/xen/zcopy: memory of other domains as dma-bufs, and dma-bufs for other domains.
 *
 * The operations have the numbers, the arguments and the meaning of those that /dev/xen/gntdev has in kernels with
 * CONFIG_XEN_GNTDEV_DMABUF: what was written for these works with the other device's path. <xen/gntdev.h> has them under other names.
 */
#ifndef XEN_ZCOPY_H
#define XEN_ZCOPY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Most references in one buffer: 256 MiB. */
#define XEN_ZCOPY_MAX_REFS 65536

/*
 * Makes a dma-buf of pages that another domain has granted.
 *
 * EINVAL: no reference or more than XEN_ZCOPY_MAX_REFS, a flag, a reference that the domain has not granted to this one. The domain is
 * this one, and not PV: Xen would take the pages away from where they are.
 * EFAULT, EMFILE, ENOMEM. ENOSPC: Xen has no room to note the mappings.
 */
struct xen_zcopy_from_refs {
	__u32 flags;	/* in: 0 */
	__u32 count;	/* in: number of references */
	__u32 fd;	/* out: the dma-buf */
	__u32 domid;	/* in: the domain that has granted them */
	__u32 refs[1];	/* in: count references */
};
#define XEN_ZCOPY_FROM_REFS _IOC(_IOC_NONE, 'G', 9, sizeof(struct xen_zcopy_from_refs))

/*
 * Waits until a dma-buf that XEN_ZCOPY_FROM_REFS made is gone and nothing of it is mapped any more.
 *
 * The descriptor may be closed by then: if it is not one of these dma-bufs now, the last one is meant that was made under this number
 * through this open file.
 *
 * ENOENT: there is none, or it is gone. ETIMEDOUT: not in time; 0 asks only. EINTR.
 */
struct xen_zcopy_wait_released {
	__u32 fd;		/* in: the dma-buf */
	__u32 wait_to_ms;	/* in: longest time to wait, in milliseconds */
};
#define XEN_ZCOPY_WAIT_RELEASED _IOC(_IOC_NONE, 'G', 10, sizeof(struct xen_zcopy_wait_released))

/*
 * Grants the pages of a dma-buf to another domain, for reading and writing. The dma-buf stays attached, whatever happens to its
 * descriptor, until XEN_ZCOPY_RELEASE or the end of the open file, and until the other domain has unmapped the pages.
 *
 * EBADF: no file. EINVAL: no dma-buf, reserved is not 0, count is not its size in pages, or more than XEN_ZCOPY_MAX_REFS; it does not
 * begin at the start of a page. EOPNOTSUPP: its pages are not where this domain could grant them, or are another domain's. ENOSPC: no room
 * in the grant table. EFAULT, ENOMEM, and its exporter's.
 */
struct xen_zcopy_to_refs {
	__u32 fd;	/* in: the dma-buf */
	__u32 count;	/* in: its size in pages */
	__u32 domid;	/* in: the domain to grant them to */
	__u32 reserved;	/* in: 0 */
	__u32 refs[1];	/* out: count references */
};
#define XEN_ZCOPY_TO_REFS _IOC(_IOC_NONE, 'G', 11, sizeof(struct xen_zcopy_to_refs))

/*
 * Revokes the references that XEN_ZCOPY_TO_REFS made: the last ones of a dma-buf under this number through this open file. Those whose
 * pages the other domain has still mapped are revoked when it has not.
 *
 * ENOENT: there are none. EINVAL: reserved is not 0.
 */
struct xen_zcopy_release {
	__u32 fd;	/* in: the dma-buf's number then */
	__u32 reserved;	/* in: 0 */
};
#define XEN_ZCOPY_RELEASE _IOC(_IOC_NONE, 'G', 12, sizeof(struct xen_zcopy_release))

#endif /* XEN_ZCOPY_H */
