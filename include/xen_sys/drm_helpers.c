// SPDX-License-Identifier: GPL-2.0
/*
 * Out-of-line forms of DRM's macros and inline functions that Rust cannot call. No logic of its own: each
 * function is the one macro or inline function that its name says.
 */

#include <drm/drm_atomic.h>
#include <drm/drm_crtc.h>
#include <drm/drm_gem.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_modeset_helper_vtables.h>
#include <drm/drm_vblank.h>
#include <drm/drm_vma_manager.h>

#include <linux/highmem.h>

void xen_sys_gem_object_put(struct drm_gem_object *obj)
{
	drm_gem_object_put(obj);
}

void xen_sys_vma_node_unmap(struct drm_vma_offset_node *node, struct address_space *mapping)
{
	drm_vma_node_unmap(node, mapping);
}

void xen_sys_copy_highpage(struct page *to, struct page *from)
{
	copy_highpage(to, from);
}

void xen_sys_plane_helper_add(struct drm_plane *plane, const struct drm_plane_helper_funcs *funcs)
{
	drm_plane_helper_add(plane, funcs);
}

void xen_sys_crtc_helper_add(struct drm_crtc *crtc, const struct drm_crtc_helper_funcs *funcs)
{
	drm_crtc_helper_add(crtc, funcs);
}

void xen_sys_connector_helper_add(struct drm_connector *connector,
				  const struct drm_connector_helper_funcs *funcs)
{
	drm_connector_helper_add(connector, funcs);
}

struct drm_plane_state *xen_sys_new_plane_state(const struct drm_atomic_commit *commit,
						struct drm_plane *plane)
{
	return drm_atomic_get_new_plane_state(commit, plane);
}

struct drm_crtc_state *xen_sys_new_crtc_state(const struct drm_atomic_commit *commit,
					      struct drm_crtc *crtc)
{
	return drm_atomic_get_new_crtc_state(commit, crtc);
}

bool xen_sys_crtc_needs_modeset(const struct drm_crtc_state *state)
{
	return drm_atomic_crtc_needs_modeset(state);
}

u32 xen_sys_crtc_mask(const struct drm_crtc *crtc)
{
	return drm_crtc_mask(crtc);
}

void xen_sys_gem_shmem_object_print_info(struct drm_printer *p, unsigned int indent,
					 const struct drm_gem_object *obj)
{
	drm_gem_shmem_object_print_info(p, indent, obj);
}

int xen_sys_gem_shmem_object_pin(struct drm_gem_object *obj)
{
	return drm_gem_shmem_object_pin(obj);
}

void xen_sys_gem_shmem_object_unpin(struct drm_gem_object *obj)
{
	drm_gem_shmem_object_unpin(obj);
}

struct sg_table *xen_sys_gem_shmem_object_get_sg_table(struct drm_gem_object *obj)
{
	return drm_gem_shmem_object_get_sg_table(obj);
}

int xen_sys_gem_shmem_object_vmap(struct drm_gem_object *obj, struct iosys_map *map)
{
	return drm_gem_shmem_object_vmap(obj, map);
}

void xen_sys_gem_shmem_object_vunmap(struct drm_gem_object *obj, struct iosys_map *map)
{
	drm_gem_shmem_object_vunmap(obj, map);
}

int xen_sys_gem_shmem_object_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	return drm_gem_shmem_object_mmap(obj, vma);
}
