// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/zcopy`: see `include/uapi/xen_zcopy.h`.

use kernel::{
    alloc::KVVec,
    bindings,
    fs::{
        file::FileDescriptorReservation,
        File, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    module::this_module,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::msecs_to_jiffies,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi::{
        _IOC_SIZESHIFT,
        _IOC_TYPESHIFT, //
    }, //
};

use crate::{
    attached::Attached,
    dmabuf::{
        after_pending_puts,
        DmaBuf,
        Shared, //
    },
    domain::DomId,
    grant::Granted,
    import::Imported,
    LocalModule, //
};

/// The device.
pub(crate) const DEVICE: MiscDeviceOptions = MiscDeviceOptions { name: c"xen/zcopy" };

const FROM_REFS: u32 = request(9, 20);
const WAIT_RELEASED: u32 = request(10, 8);
const TO_REFS: u32 = request(11, 20);
const RELEASE: u32 = request(12, 8);

/// The code of a request whose argument has `size` bytes, with one reference if it has any. The direction is that of the kernel's own:
/// none.
const fn request(number: u32, size: u32) -> u32 {
    size << _IOC_SIZESHIFT | (b'G' as u32) << _IOC_TYPESHIFT | number
}

/// Most references in one buffer.
const MAX_REFS: usize = 65536;

/// A dma-buf that was made through an open file, and the number under which it was given to the caller.
struct Export {
    fd: u32,
    shared: Arc<Shared>,
}

/// A dma-buf of somebody's whose pages were granted through an open file, and the number under which it was known to the caller.
struct Import {
    fd: u32,
    _granted: Granted,
}

/// An open file. Its end revokes what was granted through it.
#[pin_data]
pub(crate) struct Opened {
    /// Those that are not released, but for some that were just now. The newest is the last.
    #[pin]
    exports: Mutex<KVec<Export>>,
    /// The newest is the last.
    #[pin]
    imports: Mutex<KVec<Import>>,
}

#[vtable]
impl MiscDevice for Opened {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                imports <- new_mutex!(KVec::new()),
                exports <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(this: Pin<&Self>, _file: &File, request: u32, arg: usize) -> Result<isize> {
        match request {
            FROM_REFS => this.make_from_refs(UserPtr::from_addr(arg)),
            WAIT_RELEASED => this.wait_released(UserPtr::from_addr(arg)),
            TO_REFS => this.grant_to_refs(UserPtr::from_addr(arg)),
            RELEASE => this.release_import(UserPtr::from_addr(arg)),
            _ => Err(ENOTTY),
        }
        .map(|()| 0)
    }

    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(this: Pin<&Self>, file: &File, request: u32, arg: usize) -> Result<isize> {
        // The arguments have no pointers and no padding.
        Self::ioctl(this, file, request, arg)
    }
}

impl Opened {
    /// `XEN_ZCOPY_FROM_REFS`.
    fn make_from_refs(&self, arg: UserPtr) -> Result {
        let mut head = UserSlice::new(arg, 16).reader();
        let flags: u32 = head.read()?;
        let count = usize::try_from(head.read::<u32>()?)?;
        let _fd: u32 = head.read()?;
        let domid = DomId::try_from(head.read::<u32>()?)?;
        if flags != 0 || count == 0 || count > MAX_REFS {
            return Err(EINVAL);
        }
        let mut references = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut tail = UserSlice::new(arg.wrapping_byte_add(16), count.saturating_mul(4)).reader();
        for _ in 0..count {
            references.push(tail.read::<u32>()?, GFP_KERNEL)?;
        }

        let imported = Imported::new(domid, &references).map_err(|e| match e {
            EPROTO => EINVAL,
            e => e,
        })?;
        let dmabuf = DmaBuf::new(this_module::<LocalModule>(), imported)?;
        let reservation = FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
        let fd = reservation.reserved_fd();
        UserSlice::new(arg.wrapping_byte_add(8), 4)
            .writer()
            .write(&fd)?;
        let shared = dmabuf.shared().ok_or(EINVAL)?;
        let mut exports = self.exports.lock();
        exports.retain(|export| !export.shared.is_released());
        exports.push(Export { fd, shared }, GFP_KERNEL)?;
        drop(exports);
        reservation.fd_install(dmabuf.into_file());
        Ok(())
    }

    /// `XEN_ZCOPY_WAIT_RELEASED`.
    fn wait_released(&self, arg: UserPtr) -> Result {
        let mut arg = UserSlice::new(arg, 8).reader();
        let fd: u32 = arg.read()?;
        let at_most = msecs_to_jiffies(arg.read()?);
        // Not with a reference to the dma-buf: it would never be released.
        let current = DmaBuf::get(fd).ok().and_then(|dmabuf| dmabuf.shared());
        after_pending_puts()?;
        let shared = current.or_else(|| self.newest(fd)).ok_or(ENOENT)?;
        shared.wait_released(at_most)
    }

    /// The last one made under `fd` that is not released.
    fn newest(&self, fd: u32) -> Option<Arc<Shared>> {
        let mut exports = self.exports.lock();
        exports.retain(|export| !export.shared.is_released());
        let mut under_it = exports.iter().filter(|export| export.fd == fd);
        under_it.next_back().map(|export| export.shared.clone())
    }

    /// `XEN_ZCOPY_TO_REFS`.
    fn grant_to_refs(&self, arg: UserPtr) -> Result {
        let mut head = UserSlice::new(arg, 16).reader();
        let fd: u32 = head.read()?;
        let count = usize::try_from(head.read::<u32>()?)?;
        let domid = DomId::try_from(head.read::<u32>()?)?;
        let reserved: u32 = head.read()?;
        if reserved != 0 || count == 0 || count > MAX_REFS {
            return Err(EINVAL);
        }
        let dmabuf = Arc::new(Attached::new(DmaBuf::get(fd)?)?, GFP_KERNEL)?;
        let granted = Granted::of_dmabuf(domid, count, dmabuf)?;
        let mut tail = UserSlice::new(arg.wrapping_byte_add(16), count.saturating_mul(4)).writer();
        for reference in granted.references() {
            tail.write(&reference)?;
        }
        let import = Import {
            fd,
            _granted: granted,
        };
        Ok(self.imports.lock().push(import, GFP_KERNEL)?)
    }

    /// `XEN_ZCOPY_RELEASE`.
    fn release_import(&self, arg: UserPtr) -> Result {
        let mut arg = UserSlice::new(arg, 8).reader();
        let fd: u32 = arg.read()?;
        let reserved: u32 = arg.read()?;
        if reserved != 0 {
            return Err(EINVAL);
        }
        let mut imports = self.imports.lock();
        let at = imports.iter().rposition(|import| import.fd == fd);
        let import = imports.remove(at.ok_or(ENOENT)?)?;
        drop(imports);
        // Revokes, which may take a while; what the other domain still has mapped is revoked later.
        drop(import);
        Ok(())
    }
}
