/* SPDX-License-Identifier: GPL-2.0 */

/*
 * Tells what Xen's own headers say of displif, as Rust constants on standard output.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <xen/errno.h>
#include <xen/io/displif.h>
#include <xen/io/xenbus.h>

#define FIELD(name, type, member)						\
	printf("pub const " #name ": Field = Field { offset: %zu, size: %zu };\n",	\
	       offsetof(type, member), sizeof(((type *)0)->member))

#define NUMBER(name, value)							\
	printf("pub const " #name ": u64 = %llu;\n", (unsigned long long)(value))

static void requests(void)
{
	typedef struct xendispl_req req;

	FIELD(REQ_ID, req, id);
	FIELD(REQ_OPERATION, req, operation);

	FIELD(DBUF_CREATE_DBUF_COOKIE, req, op.dbuf_create.dbuf_cookie);
	FIELD(DBUF_CREATE_WIDTH, req, op.dbuf_create.width);
	FIELD(DBUF_CREATE_HEIGHT, req, op.dbuf_create.height);
	FIELD(DBUF_CREATE_BPP, req, op.dbuf_create.bpp);
	FIELD(DBUF_CREATE_BUFFER_SZ, req, op.dbuf_create.buffer_sz);
	FIELD(DBUF_CREATE_FLAGS, req, op.dbuf_create.flags);
	FIELD(DBUF_CREATE_GREF_DIRECTORY, req, op.dbuf_create.gref_directory);
	FIELD(DBUF_CREATE_DATA_OFS, req, op.dbuf_create.data_ofs);

	FIELD(DBUF_DESTROY_DBUF_COOKIE, req, op.dbuf_destroy.dbuf_cookie);

	FIELD(FB_ATTACH_DBUF_COOKIE, req, op.fb_attach.dbuf_cookie);
	FIELD(FB_ATTACH_FB_COOKIE, req, op.fb_attach.fb_cookie);
	FIELD(FB_ATTACH_WIDTH, req, op.fb_attach.width);
	FIELD(FB_ATTACH_HEIGHT, req, op.fb_attach.height);
	FIELD(FB_ATTACH_PIXEL_FORMAT, req, op.fb_attach.pixel_format);

	FIELD(FB_DETACH_FB_COOKIE, req, op.fb_detach.fb_cookie);

	FIELD(SET_CONFIG_FB_COOKIE, req, op.set_config.fb_cookie);
	FIELD(SET_CONFIG_X, req, op.set_config.x);
	FIELD(SET_CONFIG_Y, req, op.set_config.y);
	FIELD(SET_CONFIG_WIDTH, req, op.set_config.width);
	FIELD(SET_CONFIG_HEIGHT, req, op.set_config.height);
	FIELD(SET_CONFIG_BPP, req, op.set_config.bpp);

	FIELD(PG_FLIP_FB_COOKIE, req, op.pg_flip.fb_cookie);

	FIELD(GET_EDID_BUFFER_SZ, req, op.get_edid.buffer_sz);
	FIELD(GET_EDID_GREF_DIRECTORY, req, op.get_edid.gref_directory);

	NUMBER(REQ_SIZE, sizeof(req));
	NUMBER(OP_DBUF_CREATE, XENDISPL_OP_DBUF_CREATE);
	NUMBER(OP_DBUF_DESTROY, XENDISPL_OP_DBUF_DESTROY);
	NUMBER(OP_FB_ATTACH, XENDISPL_OP_FB_ATTACH);
	NUMBER(OP_FB_DETACH, XENDISPL_OP_FB_DETACH);
	NUMBER(OP_SET_CONFIG, XENDISPL_OP_SET_CONFIG);
	NUMBER(OP_PG_FLIP, XENDISPL_OP_PG_FLIP);
	NUMBER(OP_GET_EDID, XENDISPL_OP_GET_EDID);
	NUMBER(DBUF_FLG_REQ_ALLOC, XENDISPL_DBUF_FLG_REQ_ALLOC);
}

static void responses(void)
{
	typedef struct xendispl_resp resp;

	FIELD(RESP_ID, resp, id);
	FIELD(RESP_OPERATION, resp, operation);
	FIELD(RESP_STATUS, resp, status);
	FIELD(RESP_EDID_SZ, resp, op.get_edid.edid_sz);

	NUMBER(RESP_SIZE, sizeof(resp));
}

static void events(void)
{
	typedef struct xendispl_evt evt;

	FIELD(EVT_TYPE, evt, type);
	FIELD(EVT_PG_FLIP_FB_COOKIE, evt, op.pg_flip.fb_cookie);

	NUMBER(EVT_SIZE, sizeof(evt));
	NUMBER(EVT_PG_FLIP, XENDISPL_EVT_PG_FLIP);
}

static void pages(void)
{
	typedef struct xen_displif_sring sring;
	typedef struct xendispl_event_page event_page;

	FIELD(SRING_REQ_PROD, sring, req_prod);
	FIELD(SRING_REQ_EVENT, sring, req_event);
	FIELD(SRING_RSP_PROD, sring, rsp_prod);
	FIELD(SRING_RSP_EVENT, sring, rsp_event);
	NUMBER(SRING_FIRST_SLOT, offsetof(sring, ring));
	NUMBER(SRING_SLOT_SIZE, sizeof(((sring *)0)->ring[0]));
	NUMBER(SRING_ENTRIES, __CONST_RING_SIZE(xen_displif, 4096));

	FIELD(EVENT_PAGE_IN_CONS, event_page, in_cons);
	FIELD(EVENT_PAGE_IN_PROD, event_page, in_prod);
	NUMBER(EVENT_PAGE_FIRST_SLOT, XENDISPL_IN_RING_OFFS);
	NUMBER(EVENT_PAGE_ENTRIES, XENDISPL_IN_RING_LEN);
}

static void states(void)
{
	NUMBER(STATE_UNKNOWN, XenbusStateUnknown);
	NUMBER(STATE_INITIALISING, XenbusStateInitialising);
	NUMBER(STATE_INIT_WAIT, XenbusStateInitWait);
	NUMBER(STATE_INITIALISED, XenbusStateInitialised);
	NUMBER(STATE_CONNECTED, XenbusStateConnected);
	NUMBER(STATE_CLOSING, XenbusStateClosing);
	NUMBER(STATE_CLOSED, XenbusStateClosed);
	NUMBER(STATE_RECONFIGURING, XenbusStateReconfiguring);
	NUMBER(STATE_RECONFIGURED, XenbusStateReconfigured);
}

static void errnos(void)
{
	printf("pub const ERRNOS: &[(&str, u16)] = &[\n");
#define XEN_ERRNO(name, value) printf("    (\"" #name "\", %d),\n", value);
#include <xen/errno.h>
	printf("];\n");
}

int main(void)
{
	requests();
	responses();
	events();
	pages();
	states();
	errnos();
	return 0;
}
