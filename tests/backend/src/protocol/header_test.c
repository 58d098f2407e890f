/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prints requests, responses and events as Xen's header lays them out, and its constants: "name hexadecimal-octets" or
 * "name number" a line. Compiled and run by header_test.rs.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xen/xen.h>
#include <xen/errno.h>
#include <xen/io/displif.h>

static void octets(const char *name, const void *what)
{
	const uint8_t *octet = what;
	size_t i;

	printf("%s ", name);
	for (i = 0; i < 64; i++)
		printf("%02x", octet[i]);
	putchar('\n');
}

#define NUMBER(x) printf("%s %lld\n", #x, (long long)(x))

static struct xendispl_req *request(uint8_t operation)
{
	static struct xendispl_req req;

	memset(&req, 0, sizeof(req));
	req.id = 0xa1b2;
	req.operation = operation;
	return &req;
}

int main(void)
{
	struct xendispl_req *req;
	struct xendispl_resp resp;
	struct xendispl_evt evt;

	req = request(XENDISPL_OP_DBUF_CREATE);
	req->op.dbuf_create.dbuf_cookie = 0x1112131415161718ull;
	req->op.dbuf_create.width = 0x21222324;
	req->op.dbuf_create.height = 0x31323334;
	req->op.dbuf_create.bpp = 0x41424344;
	req->op.dbuf_create.buffer_sz = 0x51525354;
	req->op.dbuf_create.flags = 0x61626364;
	req->op.dbuf_create.gref_directory = 0x71727374;
	req->op.dbuf_create.data_ofs = 0x81828384;
	octets("dbuf_create", req);

	req = request(XENDISPL_OP_DBUF_DESTROY);
	req->op.dbuf_destroy.dbuf_cookie = 0x1112131415161718ull;
	octets("dbuf_destroy", req);

	req = request(XENDISPL_OP_FB_ATTACH);
	req->op.fb_attach.dbuf_cookie = 0x1112131415161718ull;
	req->op.fb_attach.fb_cookie = 0x2122232425262728ull;
	req->op.fb_attach.width = 0x31323334;
	req->op.fb_attach.height = 0x41424344;
	req->op.fb_attach.pixel_format = 0x51525354;
	octets("fb_attach", req);

	req = request(XENDISPL_OP_FB_DETACH);
	req->op.fb_detach.fb_cookie = 0x1112131415161718ull;
	octets("fb_detach", req);

	req = request(XENDISPL_OP_SET_CONFIG);
	req->op.set_config.fb_cookie = 0x1112131415161718ull;
	req->op.set_config.x = 0x21222324;
	req->op.set_config.y = 0x31323334;
	req->op.set_config.width = 0x41424344;
	req->op.set_config.height = 0x51525354;
	req->op.set_config.bpp = 0x61626364;
	octets("set_config", req);

	req = request(XENDISPL_OP_PG_FLIP);
	req->op.pg_flip.fb_cookie = 0x1112131415161718ull;
	octets("pg_flip", req);

	req = request(XENDISPL_OP_GET_EDID);
	req->op.get_edid.buffer_sz = 0x11121314;
	req->op.get_edid.gref_directory = 0x21222324;
	octets("get_edid", req);

	memset(&resp, 0, sizeof(resp));
	resp.id = 0xa1b2;
	resp.operation = XENDISPL_OP_SET_CONFIG;
	resp.status = -XEN_EOPNOTSUPP;
	octets("response", &resp);
	resp.operation = XENDISPL_OP_GET_EDID;
	resp.status = 0;
	resp.op.get_edid.edid_sz = 0x11121314;
	octets("edid_response", &resp);

	memset(&evt, 0, sizeof(evt));
	evt.id = 0xa1b2;
	evt.type = XENDISPL_EVT_PG_FLIP;
	evt.op.pg_flip.fb_cookie = 0x1112131415161718ull;
	octets("flip_event", &evt);

	NUMBER(sizeof(struct xendispl_req));
	NUMBER(sizeof(struct xendispl_resp));
	NUMBER(sizeof(struct xendispl_evt));
	NUMBER(sizeof(union xen_displif_sring_entry));
	NUMBER(offsetof(struct xen_displif_sring, req_prod));
	NUMBER(offsetof(struct xen_displif_sring, req_event));
	NUMBER(offsetof(struct xen_displif_sring, rsp_prod));
	NUMBER(offsetof(struct xen_displif_sring, rsp_event));
	NUMBER(offsetof(struct xen_displif_sring, ring));
	NUMBER(__CONST_RING_SIZE(xen_displif, 4096));
	NUMBER(offsetof(struct xendispl_event_page, in_cons));
	NUMBER(offsetof(struct xendispl_event_page, in_prod));
	NUMBER(XENDISPL_IN_RING_OFFS);
	NUMBER(XENDISPL_IN_RING_LEN);
	NUMBER(offsetof(struct xendispl_page_directory, gref_dir_next_page));
	NUMBER(offsetof(struct xendispl_page_directory, gref));
	NUMBER(XENDISPL_DBUF_FLG_REQ_ALLOC);
	NUMBER(XENDISPL_EDID_BLOCK_SIZE);
	NUMBER(XENDISPL_EDID_MAX_SIZE);
	NUMBER(XENDISPL_PROTOCOL_VERSION_INT);
	NUMBER(XEN_ENOENT);
	NUMBER(XEN_EIO);
	NUMBER(XEN_ENOMEM);
	NUMBER(XEN_EBUSY);
	NUMBER(XEN_EEXIST);
	NUMBER(XEN_EINVAL);
	NUMBER(XEN_ENOSPC);
	NUMBER(XEN_EOPNOTSUPP);
	return 0;
}
