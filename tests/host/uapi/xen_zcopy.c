// SPDX-License-Identifier: GPL-2.0
/*
 * include/uapi/xen_zcopy.h against the kernel's own <xen/gntdev.h>: same requests, same layouts. Compiled as C and as C++, which is all
 * of the test.
 */

#include <xen_zcopy.h>

#include <stddef.h>

/* What that header needs, and does not have. */
typedef __u16 domid_t;
typedef __u32 grant_ref_t;
#include <xen/gntdev.h>

#ifdef __cplusplus
#define SAME(ours, theirs) static_assert((ours) == (theirs), #ours)
#else
#define SAME(ours, theirs) _Static_assert((ours) == (theirs), #ours)
#endif

#define SAME_FIELD(ours, theirs, field)                                            \
	SAME(offsetof(struct ours, field), offsetof(struct theirs, field));        \
	SAME(sizeof(((struct ours *)0)->field), sizeof(((struct theirs *)0)->field))

SAME(XEN_ZCOPY_FROM_REFS, IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS);
SAME(XEN_ZCOPY_FROM_REFS, 0x144709);
SAME(sizeof(struct xen_zcopy_from_refs), sizeof(struct ioctl_gntdev_dmabuf_exp_from_refs));
SAME_FIELD(xen_zcopy_from_refs, ioctl_gntdev_dmabuf_exp_from_refs, flags);
SAME_FIELD(xen_zcopy_from_refs, ioctl_gntdev_dmabuf_exp_from_refs, count);
SAME_FIELD(xen_zcopy_from_refs, ioctl_gntdev_dmabuf_exp_from_refs, fd);
SAME_FIELD(xen_zcopy_from_refs, ioctl_gntdev_dmabuf_exp_from_refs, domid);
SAME_FIELD(xen_zcopy_from_refs, ioctl_gntdev_dmabuf_exp_from_refs, refs);

SAME(XEN_ZCOPY_WAIT_RELEASED, IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED);
SAME(XEN_ZCOPY_WAIT_RELEASED, 0x8470a);
SAME(sizeof(struct xen_zcopy_wait_released),
     sizeof(struct ioctl_gntdev_dmabuf_exp_wait_released));
SAME_FIELD(xen_zcopy_wait_released, ioctl_gntdev_dmabuf_exp_wait_released, fd);
SAME_FIELD(xen_zcopy_wait_released, ioctl_gntdev_dmabuf_exp_wait_released, wait_to_ms);

SAME(XEN_ZCOPY_TO_REFS, IOCTL_GNTDEV_DMABUF_IMP_TO_REFS);
SAME(XEN_ZCOPY_TO_REFS, 0x14470b);
SAME(sizeof(struct xen_zcopy_to_refs), sizeof(struct ioctl_gntdev_dmabuf_imp_to_refs));
SAME_FIELD(xen_zcopy_to_refs, ioctl_gntdev_dmabuf_imp_to_refs, fd);
SAME_FIELD(xen_zcopy_to_refs, ioctl_gntdev_dmabuf_imp_to_refs, count);
SAME_FIELD(xen_zcopy_to_refs, ioctl_gntdev_dmabuf_imp_to_refs, domid);
SAME_FIELD(xen_zcopy_to_refs, ioctl_gntdev_dmabuf_imp_to_refs, reserved);
SAME_FIELD(xen_zcopy_to_refs, ioctl_gntdev_dmabuf_imp_to_refs, refs);

SAME(XEN_ZCOPY_RELEASE, IOCTL_GNTDEV_DMABUF_IMP_RELEASE);
SAME(XEN_ZCOPY_RELEASE, 0x8470c);
SAME(sizeof(struct xen_zcopy_release), sizeof(struct ioctl_gntdev_dmabuf_imp_release));
SAME_FIELD(xen_zcopy_release, ioctl_gntdev_dmabuf_imp_release, fd);
SAME_FIELD(xen_zcopy_release, ioctl_gntdev_dmabuf_imp_release, reserved);
