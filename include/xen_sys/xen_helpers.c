// SPDX-License-Identifier: GPL-2.0
/*
 * Out-of-line forms of Xen's macros and inline functions that Rust cannot call. No logic of its own: each
 * function is the one macro or inline function that its name says.
 */

#include <linux/dma-buf.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/task_work.h>
#include <linux/vmalloc.h>

#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/platform_pci.h>
#include <xen/xen.h>
#include <xen/xenbus.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/hypervisor.h>

bool xen_sys_domain(void)
{
	return xen_domain();
}

bool xen_sys_pv_domain(void)
{
	return xen_pv_domain();
}

#ifdef CONFIG_X86
u32 xen_sys_cpuid_base(void)
{
	return xen_cpuid_base();
}
#endif

bool xen_sys_has_pv_devices(void)
{
	return xen_has_pv_devices();
}

bool xen_sys_task_work_pending(void)
{
	return task_work_pending(current);
}

int xen_sys_restart_syscall(void)
{
	return restart_syscall();
}

void xen_sys_virt_mb(void)
{
	virt_mb();
}

unsigned long xen_sys_page_to_gfn(struct page *page)
{
	return xen_page_to_gfn(page);
}

unsigned long xen_sys_pfn_to_gfn(unsigned long pfn)
{
	return pfn_to_gfn(pfn);
}

void *xen_sys_page_address(struct page *page)
{
	return page_address(page);
}

void xen_sys_get_page(struct page *page)
{
	get_page(page);
}

void xen_sys_put_page(struct page *page)
{
	put_page(page);
}

int xen_sys_evtchn_alloc_unbound(domid_t remote_dom, evtchn_port_t *port)
{
	struct evtchn_alloc_unbound op = {
		.dom = DOMID_SELF,
		.remote_dom = remote_dom,
	};
	int err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &op);

	*port = op.port;
	return err;
}

int xen_sys_evtchn_status(evtchn_port_t port, u32 *status)
{
	struct evtchn_status op = { .dom = DOMID_SELF, .port = port };
	int err = HYPERVISOR_event_channel_op(EVTCHNOP_status, &op);

	*status = op.status;
	return err;
}

int xen_sys_gnttab_query_size(u32 *frames, u32 *max_frames)
{
	struct gnttab_query_size op = { .dom = DOMID_SELF };
	int err = HYPERVISOR_grant_table_op(GNTTABOP_query_size, &op, 1);

	*frames = op.nr_frames;
	*max_frames = op.max_nr_frames;
	return err ? err : op.status;
}

struct xenbus_transaction xen_sys_xbt_nil(void)
{
	return XBT_NIL;
}

void xen_sys_gnttab_set_map_op(struct gnttab_map_grant_ref *map, struct page *page, grant_ref_t ref,
			       domid_t domid)
{
	gnttab_set_map_op(map, (unsigned long)pfn_to_kaddr(page_to_pfn(page)), GNTMAP_host_map, ref,
			  domid);
}

void xen_sys_gnttab_set_unmap_op(struct gnttab_unmap_grant_ref *unmap, struct page *page,
				 grant_handle_t handle)
{
	gnttab_set_unmap_op(unmap, (unsigned long)pfn_to_kaddr(page_to_pfn(page)), GNTMAP_host_map,
			    handle);
}

int xen_sys_gnttab_unmap_grant_ref(struct gnttab_unmap_grant_ref *unmap, unsigned int count)
{
	return HYPERVISOR_grant_table_op(GNTTABOP_unmap_grant_ref, unmap, count);
}

/* 0: the page has no entry of its own. */
phys_addr_t xen_sys_pte_maddr(void *address)
{
#ifdef CONFIG_XEN_PV
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)address, &level);

	if (pte && level == PG_LEVEL_4K)
		return arbitrary_virt_to_machine(pte).maddr;
#endif
	return 0;
}

void *xen_sys_vmap_kernel(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

int xen_sys_dma_coerce_mask_and_coherent(struct device *dev, u64 mask)
{
	return dma_coerce_mask_and_coherent(dev, mask);
}

void xen_sys_set_dma_ops(struct device *dev, const struct dma_map_ops *ops)
{
	set_dma_ops(dev, ops);
}

void xen_sys_get_dma_buf(struct dma_buf *dmabuf)
{
	get_dma_buf(dmabuf);
}

struct page *xen_sys_sg_page(struct scatterlist *sg)
{
	return sg_page(sg);
}

phys_addr_t xen_sys_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

bool xen_sys_page_is_foreign(struct page *page)
{
	return PageForeign(page);
}

bool xen_sys_page_is_swap_backed(struct page *page)
{
	return folio_test_swapbacked(page_folio(page));
}
