//! A disk that fails when it is told to: a file system in user space over a directory, which passes everything on until then.
//!
//! Nodes of the file system are handles on the inodes below (`O_PATH`), so names may move as they like.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use tempfile::TempDir;

/// How long the kernel believes names and attributes: not at all, so that everything is asked.
const BELIEVED: Duration = Duration::ZERO;
/// The number by which the kernel asks for the root.
const ROOT: u64 = 1;

/// A mounted disk; it is gone when this is dropped.
pub(super) struct Disk {
    session: Option<BackgroundSession>,
    mounted: TempDir,
    _below: TempDir,
    pub(super) faults: Arc<Faults>,
}

/// What is wrong with it now.
#[derive(Debug)]
pub(super) struct Faults {
    /// How many changes still go well; none go well any more below zero.
    changes: AtomicI64,
    /// How many reads still go well.
    reads: AtomicI64,
    /// What each change takes longer, in microseconds.
    slow_us: AtomicU64,
    /// How many calls failed.
    failed: AtomicUsize,
}

impl Default for Faults {
    fn default() -> Self {
        let endless = || AtomicI64::new(i64::MAX);
        Self { changes: endless(), reads: endless(), slow_us: AtomicU64::new(0), failed: AtomicUsize::new(0) }
    }
}

impl Faults {
    /// After so many further changes, all fail.
    pub(super) fn fail_changes_after(&self, number: i64) {
        self.changes.store(number, SeqCst);
    }

    /// All reads fail from now on.
    pub(super) fn fail_reads(&self) {
        self.reads.store(0, SeqCst);
    }

    fn mend(&self) -> usize {
        self.changes.store(i64::MAX, SeqCst);
        self.reads.store(i64::MAX, SeqCst);
        self.slow_us.store(0, SeqCst);
        self.failed.swap(0, SeqCst)
    }

    pub(super) fn be_slow(&self, by: Duration) {
        self.slow_us.store(u64::try_from(by.as_micros()).expect("is short"), SeqCst);
    }

    fn change(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_micros(self.slow_us.load(SeqCst)));
        self.pass(&self.changes)
    }

    fn pass(&self, left: &AtomicI64) -> io::Result<()> {
        if left.load(SeqCst) == i64::MAX || left.fetch_sub(1, SeqCst) > 0 {
            return Ok(());
        }
        self.failed.fetch_add(1, SeqCst);
        Err(rustix::io::Errno::IO.into())
    }
}

impl Disk {
    /// Mounts one; none where that is not possible.
    pub(super) fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || File::options().read(true).write(true).open("/dev/fuse").is_err() {
            eprintln!("only who may mount has a disk that fails");
            return None;
        }
        let (below, mounted) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let faults = Arc::new(Faults::default());
        let mut config = Config::default();
        config.n_threads = Some(4);
        let session = fuser::spawn_mount(Passing::over(below.path(), Arc::clone(&faults)), mounted.path(), &config);
        Some(Self { session: Some(session.expect("is mounted")), mounted, _below: below, faults })
    }

    /// Nothing fails any more; gives how many calls did.
    pub(super) fn mend(&self) -> usize {
        let failed = self.faults.mend();
        // What the kernel could not write by itself it tells whoever makes something durable next, once.
        let root = File::open(self.path()).expect("opens");
        let _ = rustix::fs::syncfs(&root);
        rustix::fs::syncfs(&root).expect("nothing fails any more");
        failed
    }

    pub(super) fn path(&self) -> &Path {
        self.mounted.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.faults.mend();
        if let Some(session) = self.session.take() {
            session.umount_and_join().expect("nothing on it is open any more");
        }
    }
}

/// The file system.
struct Passing {
    faults: Arc<Faults>,
    /// What the kernel knows, and how often it was told. Inodes below are not used again while they are open here.
    inodes: Mutex<HashMap<u64, (Arc<File>, u64)>>,
    /// Files that are open, and lists of directories.
    handles: Mutex<HashMap<u64, Arc<Open>>>,
    next: AtomicU64,
}

enum Open {
    File(File),
    Directory(Vec<(u64, FileType, std::ffi::OsString)>),
}

impl Passing {
    fn over(directory: &Path, faults: Arc<Faults>) -> Self {
        let root = look(directory, OFlags::DIRECTORY).expect("opens");
        let inodes = Mutex::new(HashMap::from([(ROOT, (Arc::new(root), 1))]));
        Self { faults, inodes, handles: Mutex::default(), next: AtomicU64::new(1) }
    }

    fn inode(&self, number: INodeNo) -> io::Result<Arc<File>> {
        let inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        inodes.get(&number.0).map(|(inode, _)| Arc::clone(inode)).ok_or_else(|| rustix::io::Errno::STALE.into())
    }

    fn handle(&self, handle: FileHandle) -> io::Result<Arc<Open>> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.get(&handle.0).cloned().ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    fn keep(&self, open: Open) -> FileHandle {
        let number = self.next.fetch_add(1, SeqCst);
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::new(open));
        FileHandle(number)
    }

    /// Finds a name, and knows its inode from then on.
    fn find(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let parent = self.inode(parent)?;
        let found = look(&way(&parent).join(name), OFlags::NOFOLLOW)?;
        let attributes = attributes(&found)?;
        let mut inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        inodes.entry(attributes.ino.0).or_insert_with(|| (Arc::new(found), 0)).1 += 1;
        Ok(attributes)
    }

    fn set(
        &self,
        number: INodeNo,
        mode: Option<u32>,
        size: Option<u64>,
        times: (Option<TimeOrNow>, Option<TimeOrNow>),
    ) -> io::Result<FileAttr> {
        self.faults.change()?;
        let inode = self.inode(number)?;
        if let Some(mode) = mode {
            fs::set_permissions(way(&inode), fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if let Some(size) = size {
            File::options().write(true).open(way(&inode))?.set_len(size)?;
        }
        if times.0.is_some() || times.1.is_some() {
            let times = Timestamps { last_access: time(times.0), last_modification: time(times.1) };
            rustix::fs::utimensat(CWD, way(&inode), &times, AtFlags::empty())?;
        }
        attributes(&inode)
    }
}

/// Opens a path without reading or following it.
fn look(path: &Path, more: OFlags) -> io::Result<File> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | more, Mode::empty())?.into())
}

/// The way to an inode, whatever its names are.
fn way(inode: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", inode.as_raw_fd()))
}

fn time(wanted: Option<TimeOrNow>) -> Timespec {
    match wanted {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs() as i64, tv_nsec: i64::from(since.subsec_nanos()) }
        }
    }
}

fn attributes(inode: &File) -> io::Result<FileAttr> {
    let found = inode.metadata()?;
    let at = |seconds: i64, nanoseconds: i64| -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds.max(0) as u64, nanoseconds.clamp(0, 999_999_999) as u32)
    };
    Ok(FileAttr {
        ino: INodeNo(found.ino()),
        size: found.len(),
        blocks: found.blocks(),
        atime: at(found.atime(), found.atime_nsec()),
        mtime: at(found.mtime(), found.mtime_nsec()),
        ctime: at(found.ctime(), found.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: kind(found.file_type()),
        perm: (found.mode() & 0o7777) as u16,
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn kind(found: fs::FileType) -> FileType {
    match found {
        found if found.is_dir() => FileType::Directory,
        found if found.is_symlink() => FileType::Symlink,
        found if found.is_socket() => FileType::Socket,
        found if found.is_fifo() => FileType::NamedPipe,
        _ => FileType::RegularFile,
    }
}

/// Gives the number by which the kernel is told why something failed.
fn told<T>(done: io::Result<T>) -> Result<T, Errno> {
    done.map_err(Errno::from)
}

/// Answers with what was done, or with why it was not.
macro_rules! answer {
    ($reply:ident, $done:expr, |$value:pat_param| $good:expr) => {
        match told($done) {
            Ok($value) => $good,
            Err(number) => $reply.error(number),
        }
    };
}

impl Filesystem for Passing {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without these each file is opened, and a lock of another process seen, as on any disk.
        let _ = config.add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.find(parent, name), |found| reply.entry(&BELIEVED, &found, Generation(0)));
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        let mut inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, told)) = inodes.get_mut(&number.0) {
            *told = told.saturating_sub(times);
            if *told == 0 {
                inodes.remove(&number.0);
            }
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.inode(number).and_then(|inode| attributes(&inode));
        answer!(reply, found, |found| reply.attr(&BELIEVED, &found));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer!(reply, self.set(number, mode, size, (accessed, modified)), |set| reply.attr(&BELIEVED, &set));
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let read = || Ok(rustix::fs::readlinkat(&*self.inode(number)?, "", Vec::new())?);
        answer!(reply, read(), |link| reply.data(link.as_bytes()));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let make = || {
            self.faults.change()?;
            let inode = self.inode(parent)?;
            let path = way(&inode).join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
            self.find(parent, name)
        };
        answer!(reply, make(), |made| reply.entry(&BELIEVED, &made, Generation(0)));
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let make = || {
            self.faults.change()?;
            std::os::unix::fs::symlink(target, way(&*self.inode(parent)?).join(name))?;
            self.find(parent, name)
        };
        answer!(reply, make(), |made| reply.entry(&BELIEVED, &made, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || self.faults.change().and_then(|()| fs::remove_file(way(&*self.inode(parent)?).join(name)));
        answer!(reply, remove(), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || self.faults.change().and_then(|()| fs::remove_dir(way(&*self.inode(parent)?).join(name)));
        answer!(reply, remove(), |()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        as_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let flags = rustix::fs::RenameFlags::from_bits_truncate(flags.bits());
        let rename = || {
            self.faults.change()?;
            let (from, to) = (self.inode(parent)?, self.inode(to)?);
            Ok(rustix::fs::renameat_with(&*from, name, &*to, as_name, flags)?)
        };
        answer!(reply, rename(), |()| reply.ok());
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let link = || {
            self.faults.change()?;
            let (inode, parent_inode) = (self.inode(number)?, self.inode(parent)?);
            rustix::fs::linkat(CWD, way(&inode), &*parent_inode, name, AtFlags::SYMLINK_FOLLOW)?;
            self.find(parent, name)
        };
        answer!(reply, link(), |linked| reply.entry(&BELIEVED, &linked, Generation(0)));
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = OFlags::from_bits_truncate(flags.0 as u32) - OFlags::NOFOLLOW - OFlags::CREATE;
        let open = || {
            let file = rustix::fs::open(way(&*self.inode(number)?), flags | OFlags::CLOEXEC, Mode::empty())?;
            Ok(self.keep(Open::File(file.into())))
        };
        answer!(reply, open(), |handle| reply.opened(handle, FopenFlags::empty()));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, flags: i32, reply: ReplyCreate) {
        let create = || {
            self.faults.change()?;
            let inode = self.inode(parent)?;
            let path = way(&inode).join(name);
            let is_new = OFlags::from_bits_truncate(flags as u32).contains(OFlags::EXCL);
            let mut options = File::options();
            options.read(true).write(true).mode(mode & 0o7777);
            let file = options.create(!is_new).create_new(is_new).truncate(false).open(&path)?;
            Ok((self.find(parent, name)?, self.keep(Open::File(file))))
        };
        answer!(reply, create(), |(made, handle)| {
            reply.created(&BELIEVED, &made, Generation(0), handle, FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            self.faults.pass(&self.faults.reads)?;
            let Open::File(file) = &*self.handle(handle)? else { return Err(rustix::io::Errno::ISDIR.into()) };
            let (mut bytes, mut done) = (vec![0; size as usize], 0);
            while done < bytes.len() {
                match file.read_at(&mut bytes[done..], offset + done as u64)? {
                    0 => break,
                    read => done += read,
                }
            }
            bytes.truncate(done);
            Ok(bytes)
        };
        answer!(reply, read(), |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            self.faults.change()?;
            let Open::File(file) = &*self.handle(handle)? else { return Err(rustix::io::Errno::ISDIR.into()) };
            file.write_all_at(bytes, offset)
        };
        answer!(reply, write(), |()| reply.written(bytes.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.faults.change(), |()| reply.ok());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.faults.change(), |()| reply.ok());
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let list = || {
            let mut entries = Vec::new();
            for entry in fs::read_dir(way(&*self.inode(number)?))? {
                let entry = entry?;
                entries.push((entry.metadata()?.ino(), kind(entry.file_type()?), entry.file_name()));
            }
            Ok(self.keep(Open::Directory(entries)))
        };
        answer!(reply, list(), |handle| reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.handle(handle).as_deref() {
            Ok(Open::Directory(entries)) => {
                for (at, (number, kind, name)) in entries.iter().enumerate().skip(offset as usize) {
                    if reply.add(INodeNo(*number), at as u64 + 1, *kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            _ => reply.error(Errno::EBADF),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // Room enough for anything that asks.
        reply.statfs(1 << 24, 1 << 23, 1 << 23, 1 << 20, 1 << 19, 4096, 255, 4096);
    }
}
