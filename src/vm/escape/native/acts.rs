//! Attacks that take more than one call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::value::Value;
use crate::vm::protocol::{self, Enclosed, FromWorker, Ready, WorkerUsage};
use crate::vm::sandbox::{Grade, Layer};

use super::Outcome::{self, Escaped, Stopped};
use super::{Bait, error_name, raw_call, stopped_or};

/// More than any sandbox lets through, and little enough to be harmless where nothing stops it.
const TRIES_MAX: usize = 300;
/// How many processes a bomb makes at most: it must be harmless where nothing stops it.
const PROCESSES_MAX: usize = 4;
const MIB: usize = 1 << 20;
/// What a memory bomb takes at most.
const BOMB_BYTES: usize = 4 << 30;

fn tried<T>(result: io::Result<T>, how: &str) -> Outcome {
    match result {
        Err(error) => Stopped(error_name(&error)),
        Ok(_) => Escaped(how.to_owned()),
    }
}

/// Tells whether a file shows anything.
fn shows(path: &str, is_telling: fn(&[u8]) -> bool) -> Outcome {
    let mut bytes = [0; 64];
    match File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut bytes)) {
        Err(error) => Stopped(error_name(&error)),
        Ok(0) => Stopped("it is covered".into()),
        Ok(read) if is_telling(&bytes[..read]) => Escaped(format!("`{path}` shows something")),
        Ok(_) => Stopped("it tells nothing".into()),
    }
}

/// Does something until it fails, and tells whether that was soon enough.
fn until_it_fails(bound: usize, mut act: impl FnMut(usize) -> io::Result<()>) -> Outcome {
    match (0..bound).find_map(|index| act(index).err()) {
        Some(error) => Stopped(error_name(&error)),
        None => Escaped(format!("{bound} times")),
    }
}

pub(super) fn through_symlink(bait: &Bait) -> Outcome {
    let target = bait.file.to_str().unwrap_or_default();
    let link = "/tmp/through";
    if let Err(error) = std::os::unix::fs::symlink(target, link) {
        return Stopped(error_name(&error));
    }
    tried(OpenOptions::new().write(true).truncate(true).open(link), "the link leads out")
}

pub(super) fn list_root(_: &Bait) -> Outcome {
    match fs::read_dir("/") {
        Err(error) => Stopped(error_name(&error)),
        Ok(entries) => {
            let host = ["etc", "home", "root", "usr", "var", "sys"];
            let seen = entries.flatten().find(|entry| host.iter().any(|name| entry.file_name() == *name));
            seen.map_or_else(
                || Stopped("its root holds nothing of the host".into()),
                |entry| Escaped(format!("`/{}` is there", entry.file_name().display())),
            )
        }
    }
}

pub(super) fn list_processes(_: &Bait) -> Outcome {
    let own = std::process::id();
    let found = (1..10_000).find(|pid: &u32| ![1, own].contains(pid) && Path::new(&format!("/proc/{pid}")).exists());
    match found {
        None => Stopped("there is nobody else".into()),
        Some(pid) => match File::open(format!("/proc/{pid}/status")) {
            Err(error) => Stopped(error_name(&error)),
            Ok(_) => Escaped(format!("process {pid} can be read")),
        },
    }
}

pub(super) fn read_kcore(_: &Bait) -> Outcome {
    shows("/proc/kcore", |_| true)
}

pub(super) fn read_kallsyms(_: &Bait) -> Outcome {
    // Where the kernel hides addresses, each line begins with zeros.
    shows("/proc/kallsyms", |bytes| !bytes.starts_with(b"0000000000000000"))
}

pub(super) fn read_keys(_: &Bait) -> Outcome {
    shows("/proc/keys", |_| true)
}

pub(super) fn read_init_maps(_: &Bait) -> Outcome {
    shows("/proc/1/maps", |_| true)
}

pub(super) fn environment(_: &Bait) -> Outcome {
    match std::env::vars_os().next() {
        None => Stopped("there are none".into()),
        Some((name, _)) => Escaped(format!("`{}` is set", name.display())),
    }
}

pub(super) fn descriptors(_: &Bait) -> Outcome {
    let open = (3..1024).find(|fd| raw_call(libc::SYS_fcntl, [*fd, libc::F_GETFD.into(), 0, 0, 0, 0]).is_ok());
    open.map_or_else(|| Stopped("there are none".into()), |fd| Escaped(format!("descriptor {fd} is open")))
}

pub(super) fn fill_temp(_: &Bait) -> Outcome {
    let block = vec![1; MIB];
    until_it_fails(TRIES_MAX, |index| {
        let name = format!("/tmp/fill{}", index / 4);
        OpenOptions::new().append(true).create(true).open(name)?.write_all(&block)
    })
}

pub(super) fn fill_inodes(_: &Bait) -> Outcome {
    until_it_fails(50_000, |index| File::create(format!("/tmp/{index}")).map(drop))
}

fn written(path: &str, bytes: &[u8]) -> io::Result<File> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    File::open(path)
}

pub(super) fn exec_temp(_: &Bait) -> Outcome {
    match written("/tmp/run", b"#!/tmp/run\n") {
        Err(error) => Stopped(error_name(&error)),
        Ok(_) => stopped_or(raw_call(libc::SYS_execve, [c"/tmp/run".as_ptr() as i64, 0, 0, 0, 0, 0])),
    }
}

pub(super) fn map_temp(_: &Bait) -> Outcome {
    match written("/tmp/code", &[0x90; 4096]) {
        Err(error) => Stopped(error_name(&error)),
        Ok(file) => {
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            let (flags, fd) = (libc::MAP_PRIVATE, file.as_raw_fd());
            stopped_or(raw_call(libc::SYS_mmap, [0, 4096, protection.into(), flags.into(), fd.into(), 0]))
        }
    }
}

pub(super) fn connect_tcp(bait: &Bait) -> Outcome {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bait.port));
    tried(TcpStream::connect_timeout(&address, Duration::from_secs(1)), "connected")
}

pub(super) fn send_udp(bait: &Bait) -> Outcome {
    let sent = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.send_to(b"x", (Ipv4Addr::LOCALHOST, bait.port)));
    tried(sent, "sent")
}

pub(super) fn connect_abstract(bait: &Bait) -> Outcome {
    let connected = std::os::unix::net::SocketAddr::from_abstract_name(&bait.socket)
        .and_then(|address| UnixStream::connect_addr(&address));
    tried(connected, "connected")
}

/// Makes a process and ends it again at once.
fn fork_once() -> io::Result<()> {
    match raw_call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0])? {
        0 => leave(0),
        _ => Ok(()),
    }
}

fn leave(code: i64) -> ! {
    loop {
        let _ = raw_call(libc::SYS_exit_group, [code, 0, 0, 0, 0, 0]);
    }
}

pub(super) fn clone3(_: &Bait) -> Outcome {
    // `struct clone_args`: flags, pidfd, child_tid, parent_tid, exit_signal, and three of the stack.
    let arguments = [0_u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    let size = size_of_val(&arguments) as i64;
    match raw_call(libc::SYS_clone3, [arguments.as_ptr() as i64, size, 0, 0, 0, 0]) {
        Ok(0) => leave(0),
        other => stopped_or(other),
    }
}

pub(super) fn fork_bomb(_: &Bait) -> Outcome {
    until_it_fails(PROCESSES_MAX, |_| fork_once())
}

pub(super) fn daemonise(_: &Bait) -> Outcome {
    match raw_call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0]) {
        Ok(0) => {
            let _ = raw_call(libc::SYS_setsid, [0; 6]);
            std::thread::sleep(Duration::from_secs(2));
            leave(0)
        }
        other => stopped_or(other),
    }
}

pub(super) fn thread_bomb(_: &Bait) -> Outcome {
    until_it_fails(TRIES_MAX, |_| {
        std::thread::Builder::new().stack_size(64 << 10).spawn(|| std::thread::sleep(Duration::from_secs(60))).map(drop)
    })
}

/// `struct iovec` for one kibibyte here, and one at an address of the other process.
fn other_memory(number: i64) -> Outcome {
    let mut own = [0_u8; 1024];
    let (here, there) = ([own.as_mut_ptr() as u64, 1024], [own.as_ptr() as u64, 1024]);
    stopped_or(raw_call(number, [1, here.as_ptr() as i64, 1, there.as_ptr() as i64, 1, 0]))
}

pub(super) fn read_other(_: &Bait) -> Outcome {
    other_memory(libc::SYS_process_vm_readv)
}

pub(super) fn write_other(_: &Bait) -> Outcome {
    other_memory(libc::SYS_process_vm_writev)
}

pub(super) fn raise_limit(_: &Bait) -> Outcome {
    let wanted = [u64::MAX, u64::MAX];
    for resource in [libc::RLIMIT_DATA, libc::RLIMIT_NPROC, libc::RLIMIT_NOFILE, libc::RLIMIT_FSIZE, libc::RLIMIT_AS] {
        if raw_call(libc::SYS_prlimit64, [0, resource.into(), wanted.as_ptr() as i64, 0, 0, 0]).is_ok() {
            return Escaped(format!("limit {resource} is gone"));
        }
    }
    Stopped("EPERM".into())
}

pub(super) fn spare_me(_: &Bait) -> Outcome {
    tried(fs::write("/proc/self/oom_score_adj", "-1000"), "others go first")
}

pub(super) fn take_capabilities(_: &Bait) -> Outcome {
    // `struct __user_cap_header_struct` and two of `__user_cap_data_struct`, version 3.
    let (header, data) = ([0x2008_0522_u32, 0], [u32::MAX; 6]);
    stopped_or(raw_call(libc::SYS_capset, [header.as_ptr() as i64, data.as_ptr() as i64, 0, 0, 0, 0]))
}

pub(super) fn gain_privileges(_: &Bait) -> Outcome {
    let number = i64::from(libc::PR_SET_NO_NEW_PRIVS);
    stopped_or(raw_call(libc::SYS_prctl, [number, 0, 0, 0, 0, 0]))
}

pub(super) fn map_users(_: &Bait) -> Outcome {
    tried(fs::write("/proc/self/uid_map", "0 0 1"), "the map was written")
}

pub(super) fn set_clock(_: &Bait) -> Outcome {
    // To what it is, so that nothing comes of it where it is allowed.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let now = [now.tv_sec, now.tv_nsec];
    stopped_or(raw_call(libc::SYS_clock_settime, [0, now.as_ptr() as i64, 0, 0, 0, 0]))
}

pub(super) fn type_on_terminal(_: &Bait) -> Outcome {
    let letter = b"x";
    stopped_or(raw_call(libc::SYS_ioctl, [0, libc::TIOCSTI as i64, letter.as_ptr() as i64, 0, 0, 0]))
}

#[cfg(target_arch = "x86_64")]
pub(super) fn x32_call(_: &Bait) -> Outcome {
    stopped_or(raw_call(libc::SYS_getpid | 0x4000_0000, [0; 6]))
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the attack is an instruction")]
pub(super) fn i386_call(_: &Bait) -> Outcome {
    let given: i64;
    // SAFETY: 20 is `getpid` there, which takes nothing and writes nothing but its result. The kernel may end the process.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => given, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    Escaped(format!("the call gave {given}"))
}

pub(super) fn unknown_call(_: &Bait) -> Outcome {
    stopped_or(raw_call(100_000, [0; 6]))
}

/// Maps memory of its own or shared with nobody, and writes all of it.
fn bomb(flags: i32) -> Outcome {
    let step = 16 * MIB;
    let protection = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    until_it_fails(BOMB_BYTES / step, |_| {
        // The kernel writes it all at once: `MAP_POPULATE`.
        let flags = i64::from(flags | libc::MAP_ANONYMOUS | libc::MAP_POPULATE);
        raw_call(libc::SYS_mmap, [0, step as i64, protection, flags, -1, 0]).map(drop)
    })
}

pub(super) fn memory_bomb(_: &Bait) -> Outcome {
    bomb(libc::MAP_PRIVATE)
}

pub(super) fn shared_memory_bomb(_: &Bait) -> Outcome {
    bomb(libc::MAP_SHARED)
}

pub(super) fn stack_bomb(_: &Bait) -> Outcome {
    fn deeper(depth: u64) -> u64 {
        let here = std::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + here[(depth % 64) as usize] }
    }
    Escaped(format!("the stack has no end: {}", deeper(0)))
}

pub(super) fn lock_memory(_: &Bait) -> Outcome {
    let memory = vec![0_u8; MIB];
    stopped_or(raw_call(libc::SYS_mlock, [memory.as_ptr() as i64, MIB as i64, 0, 0, 0, 0]))
}

pub(super) fn pipe_bomb(_: &Bait) -> Outcome {
    until_it_fails(TRIES_MAX, |_| {
        let (reader, writer) = io::pipe()?;
        // Kept open for good.
        let _ = (reader.into_raw_fd(), writer.into_raw_fd());
        Ok(())
    })
}

pub(super) fn timer_bomb(_: &Bait) -> Outcome {
    until_it_fails(TRIES_MAX, |_| {
        let mut id = [0_i32; 2];
        raw_call(libc::SYS_timer_create, [1, 0, id.as_mut_ptr() as i64, 0, 0, 0]).map(drop)
    })
}

pub(super) fn watch_bomb(_: &Bait) -> Outcome {
    until_it_fails(TRIES_MAX, |_| raw_call(libc::SYS_inotify_init1, [0; 6]).map(drop))
}

pub(super) fn spin(_: &Bait) -> Outcome {
    loop {
        std::hint::spin_loop();
    }
}

pub(super) fn sleep(_: &Bait) -> Outcome {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

pub(super) fn spin_deaf(bait: &Bait) -> Outcome {
    let all = [u64::MAX];
    let block = i64::from(libc::SIG_BLOCK);
    let _ = raw_call(libc::SYS_rt_sigprocmask, [block, all.as_ptr() as i64, 0, 8, 0, 0]);
    spin(bait)
}

pub(super) fn stop_itself(bait: &Bait) -> Outcome {
    let own = std::process::id();
    let _ = raw_call(libc::SYS_kill, [own.into(), libc::SIGSTOP.into(), 0, 0, 0, 0]);
    sleep(bait)
}

pub(super) fn flood_output(_: &Bait) -> Outcome {
    flood(1)
}

pub(super) fn flood_errors(_: &Bait) -> Outcome {
    flood(2)
}

fn flood(descriptor: i64) -> Outcome {
    let text = [b'x'; 4096];
    loop {
        if let Err(error) = raw_call(libc::SYS_write, [descriptor, text.as_ptr() as i64, 4096, 0, 0, 0]) {
            return Stopped(error_name(&error));
        }
    }
}

#[expect(unsafe_code, reason = "the attack is a write to nowhere")]
pub(super) fn crash(_: &Bait) -> Outcome {
    let nowhere = std::hint::black_box(16_usize) as *mut u8;
    // SAFETY: none; the process is meant to end here, as a program ends that took over its engine and failed.
    unsafe { nowhere.write_volatile(1) };
    Escaped("the address could be written".into())
}

pub(super) fn abort(_: &Bait) -> Outcome {
    std::process::abort()
}

#[expect(unsafe_code, reason = "the attack is an instruction that is none")]
pub(super) fn illegal(_: &Bait) -> Outcome {
    // SAFETY: the instruction has no effect but the end of the process.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2");
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0");
    }
    Escaped("the instruction was run".into())
}

pub(super) fn kill_itself(_: &Bait) -> Outcome {
    let own = std::process::id();
    let _ = raw_call(libc::SYS_kill, [own.into(), libc::SIGKILL.into(), 0, 0, 0, 0]);
    Escaped("it lives".into())
}

pub(super) fn exit(_: &Bait) -> Outcome {
    std::process::exit(0)
}

pub(super) fn close_socket(bait: &Bait) -> Outcome {
    let _ = raw_call(libc::SYS_close, [0; 6]);
    spin(bait)
}

pub(super) fn outlive(bait: &Bait) -> Outcome {
    let number = i64::from(libc::PR_SET_PDEATHSIG);
    let _ = raw_call(libc::SYS_prctl, [number, 0, 0, 0, 0, 0]);
    spin(bait)
}

/// Writes to the host's socket, and goes on.
fn say(bytes: &[u8], bait: &Bait) -> Outcome {
    let _ = raw_call(libc::SYS_write, [0, bytes.as_ptr() as i64, bytes.len() as i64, 0, 0, 0]);
    sleep(bait)
}

fn say_message(message: &FromWorker, bait: &Bait) -> Outcome {
    say(&protocol::encode(message).unwrap_or_default(), bait)
}

fn done(id: u64) -> FromWorker {
    FromWorker::Done { id, value: Value::Nil, usage: WorkerUsage { cpu_us: 0, memory_peak_bytes: 0, fuel_used: 0 } }
}

pub(super) fn forge_length(bait: &Bait) -> Outcome {
    say(&[0xff; 4], bait)
}

pub(super) fn forge_garbage(bait: &Bait) -> Outcome {
    say(b"\x04\0\0\0\xc1\xc1\xc1\xc1", bait)
}

pub(super) fn forge_depth(bait: &Bait) -> Outcome {
    let mut frame = 100_000_u32.to_le_bytes().to_vec();
    frame.resize(100_004, 0x91);
    say(&frame, bait)
}

pub(super) fn forge_count(bait: &Bait) -> Outcome {
    say(b"\x05\0\0\0\xdd\xff\xff\xff\xff", bait)
}

pub(super) fn forge_other_call(bait: &Bait) -> Outcome {
    say_message(&done(u64::MAX), bait)
}

pub(super) fn forge_twice(bait: &Bait) -> Outcome {
    let frame = protocol::encode(&done(1)).unwrap_or_default();
    say(&[frame.clone(), frame].concat(), bait)
}

pub(super) fn forge_grade(bait: &Bait) -> Outcome {
    let (layers, absent) = (Layer::ALL.to_vec(), Vec::new());
    let enclosed = Enclosed { version: protocol::VERSION, layers, absent, grade: Grade::Full, process: 1 };
    say_message(&FromWorker::Enclosed(enclosed), bait)
}

pub(super) fn forge_ready(bait: &Bait) -> Outcome {
    say_message(&FromWorker::Ready(Ready { version: protocol::VERSION, engine: "forged".into() }), bait)
}

pub(super) fn forge_half(bait: &Bait) -> Outcome {
    say(b"\xff\0\0\0\xa3", bait)
}

pub(super) fn flood_socket(bait: &Bait) -> Outcome {
    let frame = protocol::encode(&done(1)).unwrap_or_default().repeat(1000);
    while raw_call(libc::SYS_write, [0, frame.as_ptr() as i64, frame.len() as i64, 0, 0, 0]).is_ok() {}
    spin(bait)
}
