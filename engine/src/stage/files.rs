//! WASI's environment, folders and sockets with a stage's grants behind them, in place of wasmtime-wasi's own.
//!
//! A granted folder is read only, and nothing outside it can be reached: wasmtime-wasi sees to that. What it does not
//! see to is here. Epochs do not interrupt a host call, so opening must not wait: only plain files and folders are
//! opened, and what turns into a pipe between the look and the opening is given up after a moment. A listing of a
//! folder lies in the host's memory, so few of them are held at once.

use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::cli::environment;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types as waiting};
use wasmtime_wasi::p2::bindings::sockets::network::{self, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{self, DescriptorFlags, OpenFlags, PathFlags};
use wasmtime_wasi::p2::bindings::sync::io::streams::{Error as StreamFault, InputStream, OutputStream};
use wasmtime_wasi::p2::bindings::sync::sockets::udp_create_socket;
use wasmtime_wasi::p2::{
    FsError, FsResult, Network, ReaddirIterator, SocketError, SocketResult, TcpSocket, UdpSocket,
};
use wasmtime_wasi::runtime::in_tokio;
use wasmtime_wasi::{FsPerms, OpenMode};

use super::state::State;
use super::wasi::Wasi;

/// Opening a plain file takes microseconds; a pipe that nobody writes to takes for ever.
const OPEN_WAIT: Duration = Duration::from_secs(1);
/// Listings that an instance holds: walking a tree takes one a level.
const LISTINGS_MAX: usize = 16;

/// Links what is here over what wasmtime-wasi has linked; the linker must allow shadowing.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    environment::add_to_linker::<State, HasWasi>(linker, State::wasi)?;
    preopens::add_to_linker::<State, HasWasi>(linker, State::wasi)?;
    tcp_create_socket::add_to_linker::<State, HasWasi>(linker, State::wasi)?;
    udp_create_socket::add_to_linker::<State, HasWasi>(linker, State::wasi)?;
    types::add_to_linker::<State, HasFiles>(linker, files)
}

struct HasWasi;

impl HasData for HasWasi {
    type Data<'a> = &'a mut Wasi;
}

impl environment::Host for Wasi {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        self.asked.env = true;
        Ok(self.grants.environment())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl preopens::Host for Wasi {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.asked.folders = true;
        let mut all = Vec::with_capacity(self.grants.folders().len());
        for folder in self.grants.folders() {
            let handle = folder.handle.try_clone()?;
            // Not on this thread, which must be able to give an opening up.
            let dir = Dir::new(handle, FsPerms::ReadOnly, OpenMode::READ, false);
            all.push((self.table.push(Descriptor::Dir(dir))?, folder.guest.clone()));
        }
        Ok(all)
    }
}

impl network::Host for Wasi {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<network::ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        _: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<network::ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for Wasi {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl tcp_create_socket::Host for Wasi {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.asked.network = true;
        Err(network::ErrorCode::AccessDenied.into())
    }
}

impl udp_create_socket::Host for Wasi {
    fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.asked.network = true;
        Err(network::ErrorCode::AccessDenied.into())
    }
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

/// The files of an instance.
struct Files<'a>(&'a mut State);

fn files(state: &mut State) -> Files<'_> {
    Files(state)
}

impl Files<'_> {
    fn view(&mut self) -> WasiFilesystemCtxView<'_> {
        self.0.filesystem()
    }
}

type Fd = Resource<Descriptor>;
type Listing = Resource<ReaddirIterator>;

/// What a guest may open.
fn is_plain(ty: types::DescriptorType) -> bool {
    use types::DescriptorType as Type;
    // A link that is not followed is refused by the opening itself.
    matches!(ty, Type::RegularFile | Type::Directory | Type::SymbolicLink)
}

fn denied<T>() -> FsResult<T> {
    Err(waiting::ErrorCode::NotPermitted.into())
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, err: FsError) -> wasmtime::Result<types::ErrorCode> {
        types::Host::convert_error_code(&mut self.view(), err)
    }

    fn filesystem_error_code(
        &mut self,
        err: Resource<StreamFault>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.view(), err)
    }
}

/// Hands a call on to wasmtime-wasi as it is.
macro_rules! pass {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {$(
        fn $name(&mut self, fd: Fd $(, $arg: $ty)*) -> $out {
            types::HostDescriptor::$name(&mut self.view(), fd $(, $arg)*)
        }
    )*};
}

impl types::HostDescriptor for Files<'_> {
    fn open_at(
        &mut self,
        fd: Fd,
        follow: PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        if open.intersects(OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE) {
            return denied();
        }
        let looked = Resource::new_borrow(fd.rep());
        let stat = types::HostDescriptor::stat_at(&mut self.view(), looked, follow, path.clone())?;
        if !is_plain(stat.type_) {
            return denied();
        }
        let mut view = self.view();
        let (follow, open, flags) = (follow.into(), open.into(), flags.into());
        let opening = waiting::HostDescriptor::open_at(&mut view, fd, follow, path, open, flags);
        let opened = in_tokio(async { tokio::time::timeout(OPEN_WAIT, opening).await });
        let Ok(opened) = opened else {
            return Err(FsError::trap(wasmtime::Error::msg("opening a file took too long")));
        };
        let opened = opened?;
        // What was there a moment ago may have been replaced.
        let own = Resource::new_borrow(opened.rep());
        let ty = types::HostDescriptor::get_type(&mut self.view(), own)?;
        if !is_plain(ty) {
            types::HostDescriptor::drop(&mut self.view(), opened).map_err(FsError::trap)?;
            return denied();
        }
        Ok(opened)
    }

    fn read_directory(&mut self, fd: Fd) -> FsResult<Listing> {
        if self.0.wasi().listings >= LISTINGS_MAX {
            return Err(waiting::ErrorCode::InsufficientMemory.into());
        }
        let listing = types::HostDescriptor::read_directory(&mut self.view(), fd)?;
        self.0.wasi().listings += 1;
        Ok(listing)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        types::HostDescriptor::drop(&mut self.view(), fd)
    }

    fn is_same_object(&mut self, a: Fd, b: Fd) -> wasmtime::Result<bool> {
        types::HostDescriptor::is_same_object(&mut self.view(), a, b)
    }

    pass! {
        advise(offset: u64, len: u64, advice: types::Advice) -> FsResult<()>;
        sync_data() -> FsResult<()>;
        get_flags() -> FsResult<DescriptorFlags>;
        get_type() -> FsResult<types::DescriptorType>;
        set_size(size: u64) -> FsResult<()>;
        set_times(accessed: types::NewTimestamp, modified: types::NewTimestamp) -> FsResult<()>;
        read(len: u64, offset: u64) -> FsResult<(Vec<u8>, bool)>;
        write(bytes: Vec<u8>, offset: u64) -> FsResult<u64>;
        sync() -> FsResult<()>;
        create_directory_at(path: String) -> FsResult<()>;
        stat() -> FsResult<types::DescriptorStat>;
        stat_at(follow: PathFlags, path: String) -> FsResult<types::DescriptorStat>;
        set_times_at(
            follow: PathFlags, path: String, accessed: types::NewTimestamp, modified: types::NewTimestamp
        ) -> FsResult<()>;
        link_at(follow: PathFlags, path: String, to: Fd, new: String) -> FsResult<()>;
        readlink_at(path: String) -> FsResult<String>;
        remove_directory_at(path: String) -> FsResult<()>;
        rename_at(path: String, to: Fd, new: String) -> FsResult<()>;
        symlink_at(path: String, new: String) -> FsResult<()>;
        unlink_file_at(path: String) -> FsResult<()>;
        read_via_stream(offset: u64) -> FsResult<Resource<InputStream>>;
        write_via_stream(offset: u64) -> FsResult<Resource<OutputStream>>;
        append_via_stream() -> FsResult<Resource<OutputStream>>;
        metadata_hash() -> FsResult<types::MetadataHashValue>;
        metadata_hash_at(follow: PathFlags, path: String) -> FsResult<types::MetadataHashValue>;
    }
}

impl types::HostDirectoryEntryStream for Files<'_> {
    fn read_directory_entry(&mut self, listing: Listing) -> FsResult<Option<types::DirectoryEntry>> {
        types::HostDirectoryEntryStream::read_directory_entry(&mut self.view(), listing)
    }

    fn drop(&mut self, listing: Listing) -> wasmtime::Result<()> {
        types::HostDirectoryEntryStream::drop(&mut self.view(), listing)?;
        self.0.wasi().listings -= 1;
        Ok(())
    }
}
