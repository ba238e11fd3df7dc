# Attacks in Julia, which reaches every call of the system by `ccall`. Each is a function below a line that says what it
# tries and, in brackets, how it may end other than by an answer.

const ERRORS = Dict(1 => "EPERM", 2 => "ENOENT", 3 => "ESRCH", 5 => "EIO", 9 => "EBADF", 11 => "EAGAIN", 12 => "ENOMEM",
    13 => "EACCES", 14 => "EFAULT", 16 => "EBUSY", 19 => "ENODEV", 20 => "ENOTDIR", 22 => "EINVAL", 24 => "EMFILE",
    26 => "ETXTBSY", 27 => "EFBIG", 28 => "ENOSPC", 30 => "EROFS", 38 => "ENOSYS", 97 => "EAFNOSUPPORT")

# Makes a system call, which must fail. The numbers below are those of x86-64.
function refused(number, a = 0, b = 0, c = 0, d = 0, e = 0)
    given = ccall(:syscall, Clong, (Clong, Clong, Clong, Clong, Clong, Clong, Clong), number, a, b, c, d, e, 0)
    error = Libc.errno()
    given == -1 ? "contained: " * get(ERRORS, error, "errno $error") : "escaped: the call gave $given"
end

# Does something that must raise an error.
function fails(act, how)
    try
        act()
    catch error
        message = sprint(showerror, error)
        for (number, name) in ERRORS
            occursin(name, message) && return "contained: $name"
        end
        isa(error, SystemError) && return "contained: " * get(ERRORS, Int(error.errnum), "errno $(error.errnum)")
        return "contained: " * first(split(message, '\n'))
    end
    "escaped: $how"
end

opens(path, flags = 0) = GC.@preserve path refused(257, -100, reinterpret(Clong, pointer(path)), flags, 420)

#: julia-read-shadow: reads /etc/shadow
function julia_read_shadow()
    fails(() -> read("/etc/shadow", String), "it was read")
end

#: julia-read-passwd: reads /etc/passwd
function julia_read_passwd()
    fails(() -> read("/etc/passwd", String), "it was read")
end

#: julia-list-root: lists the host's root directory
function julia_list_root()
    entries = try readdir("/") catch error; return "contained: " * get(ERRORS, Int(error.errnum), "error") end
    any(in(("etc", "root", "home", "sys", "var")), entries) ? "escaped: $entries" : "contained: nothing of the host is there"
end

#: julia-list-home: lists the homes of users
function julia_list_home()
    fails(() -> readdir("/home"), "they were listed")
end

#: julia-list-processes: finds other processes
function julia_list_processes()
    own = string(getpid())
    entries = try readdir("/proc") catch error; return "contained: " * get(ERRORS, Int(error.errnum), "error") end
    others = filter(name -> all(isdigit, name) && !(name in (own, "1")), entries)
    isempty(others) ? "contained: there is nobody else" : "escaped: $others"
end

#: julia-init-environment: reads another process's environment
function julia_init_environment()
    fails(() -> read("/proc/1/environ"), "it was read")
end

#: julia-init-memory: writes another process's memory
function julia_init_memory()
    fails(() -> open(io -> write(io, 0), "/proc/1/mem", "r+"), "it was written")
end

#: julia-init-root: reads a file through another process's root
function julia_init_root()
    fails(() -> read("/proc/1/root/etc/passwd"), "it was read")
end

#: julia-environment: finds variables of the host
function julia_environment()
    known = ("JULIA", "LD_LIBRARY_PATH", "HOME", "OPENBLAS", "LANG", "TMP", "PATH", "LC_")
    strange = filter(name -> !any(start -> startswith(name, start), known), collect(keys(ENV)))
    isempty(strange) ? "contained: there are none" : "escaped: $strange"
end

#: julia-write-root: writes at the root
function julia_write_root()
    fails(() -> write("/written", "x"), "it was written")
end

#: julia-write-library: writes among its own libraries
function julia_write_library()
    fails(() -> write(joinpath(dirname(Sys.STDLIB), "written"), "x"), "it was written")
end

#: julia-write-program: writes its own program
function julia_write_program()
    fails(() -> open(io -> nothing, joinpath(Sys.BINDIR, "julia"), "r+"), "it was opened for writing")
end

#: julia-remove-library: removes a library of its own
function julia_remove_library()
    fails(() -> rm(joinpath(Sys.STDLIB, "Random"), recursive = true), "it was removed")
end

#: julia-sys: reads what the machine is made of
function julia_sys()
    fails(() -> readdir("/sys/class"), "it was listed")
end

#: julia-device: opens the memory of the machine
function julia_device()
    fails(() -> open(io -> nothing, "/dev/mem"), "it was opened")
end

#: julia-sysrq: restarts the machine
function julia_sysrq()
    opens("/proc/sysrq-trigger", 1)
end

#: julia-core-pattern: changes what the kernel runs on a crash
function julia_core_pattern()
    opens("/proc/sys/kernel/core_pattern", 1)
end

#: julia-symlink: reads a file of the host through a link of its own
function julia_symlink()
    fails(() -> (symlink("/etc/passwd", "/tmp/link"); read("/tmp/link")), "the link leads out")
end

#: julia-run: runs a program
function julia_run()
    fails(() -> run(`/bin/sh -c true`), "it ran")
end

#: julia-run-itself: runs itself again
function julia_run_itself()
    fails(() -> run(`$(joinpath(Sys.BINDIR, "julia")) --version`), "it ran")
end

#: julia-system: runs a command by the C library
function julia_system()
    given = ccall(:system, Cint, (Cstring,), "exit 7")
    given == 7 << 8 ? "escaped: it ran" : "contained: the C library gave $given"
end

#: julia-popen: reads a command's output by the C library
function julia_popen()
    pipe = ccall(:popen, Ptr{Cvoid}, (Cstring, Cstring), "echo x", "r")
    pipe == C_NULL && return "contained: " * get(ERRORS, Int(Libc.errno()), "errno")
    line = zeros(UInt8, 16)
    got = ccall(:fgets, Ptr{UInt8}, (Ptr{UInt8}, Cint, Ptr{Cvoid}), line, 16, pipe)
    got == C_NULL ? "contained: nothing came" : "escaped: it ran"
end

#: julia-fork: makes a process
function julia_fork()
    given = ccall(:fork, Cint, ())
    given == 0 && ccall(:_exit, Cvoid, (Cint,), 0)
    given < 0 ? "contained: " * get(ERRORS, Int(Libc.errno()), "errno") : "escaped: process $given"
end

#: julia-vfork: makes a process by the bare call
function julia_vfork()
    refused(56, 17)
end

#: julia-daemon: leaves its session by the C library
function julia_daemon()
    given = ccall(:daemon, Cint, (Cint, Cint), 0, 0)
    given == 0 ? "escaped: it left" : "contained: " * get(ERRORS, Int(Libc.errno()), "errno")
end

#: julia-exec: becomes a shell
function julia_exec()
    fails(() -> ccall(:execl, Cint, (Cstring, Cstring, Ptr{Cvoid}), "/bin/sh", "sh", C_NULL) == -1 &&
        throw(SystemError("execl", Libc.errno())), "it became one")
end

#: julia-library-of-temp: loads a library it has written
function julia_library_of_temp()
    loaded = filter(line -> occursin(".so", line), readlines("/proc/self/maps"))
    fails(() -> cp(String(last(split(first(loaded)))), "/tmp/own.so"), "") == "escaped: " || return "contained: not written"
    library = ccall(:dlopen, Ptr{Cvoid}, (Cstring, Cint), "/tmp/own.so", 1)
    library == C_NULL || return "escaped: it was loaded"
    "contained: " * unsafe_string(ccall(:dlerror, Cstring, ()))
end

#: julia-connect: connects to a server
function julia_connect()
    fails(() -> ccall(:socket, Cint, (Cint, Cint, Cint), 2, 1, 0) == -1 && throw(SystemError("socket", Libc.errno())),
        "a socket was opened")
end

#: julia-listen: listens on a port
function julia_listen()
    refused(41, 10, 1, 0)
end

#: julia-netlink: talks to the kernel about the network
function julia_netlink()
    refused(41, 16, 3, 0)
end

#: julia-packet: listens to the wire
function julia_packet()
    refused(41, 17, 3, 0)
end

#: julia-kill-init: kills the first process
function julia_kill_init()
    refused(62, 1, 9)
end

#: julia-kill-all: signals every process
function julia_kill_all()
    refused(62, -1, 18)
end

#: julia-ptrace: traces the first process
function julia_ptrace()
    refused(101, 0x4206, 1)
end

#: julia-setuid: becomes the superuser
function julia_setuid()
    refused(105, 0)
end

#: julia-mount: mounts a file system
function julia_mount()
    refused(165, 0, 0, 0, 0, 0)
end

#: julia-unshare: enters a new user namespace
function julia_unshare()
    refused(272, 0x10000000)
end

#: julia-setns: joins a namespace
function julia_setns()
    refused(308, 0, 0)
end

#: julia-bpf: loads a program into the kernel
function julia_bpf()
    refused(321, 0)
end

#: julia-io-uring: makes a ring for system calls
function julia_io_uring()
    refused(425, 4, 0)
end

#: julia-userfaultfd: handles page faults itself
function julia_userfaultfd()
    refused(323, 0)
end

#: julia-perf: counts events of the processor
function julia_perf()
    refused(298, 0)
end

#: julia-keyctl: joins a keyring
function julia_keyctl()
    refused(250, 1)
end

#: julia-memfd: makes a file in memory
function julia_memfd()
    name = "x"
    GC.@preserve name refused(319, reinterpret(Clong, pointer(name)), 0)
end

#: julia-shmget: makes shared memory
function julia_shmget()
    refused(29, 0, 4096, 0o1600)
end

#: julia-shrink-arena: cuts the memory it shares with the host
function julia_shrink_arena()
    refused(77, 3, 0)
end

#: julia-grow-arena: grows the memory it shares with the host
function julia_grow_arena()
    refused(77, 3, Int64(1) << 40)
end

#: julia-file-bomb: fills the directory for temporary files [signal]
function julia_file_bomb()
    try
        open(io -> for _ in 1:1000; write(io, zeros(UInt8, 1 << 20)); end, "/tmp/large", "w")
    catch
    end
    # What the system did not take is no error to a buffered stream.
    size = isfile("/tmp/large") ? filesize("/tmp/large") : 0
    size < 1 << 28 ? "contained: the file ended after $size bytes" : "escaped: $size bytes were written"
end

#: julia-array-bomb: takes memory without end [memory, signal]
function julia_array_bomb()
    fails(() -> begin
        all = []
        for _ in 1:1000
            push!(all, fill(1.0, 1 << 21))
        end
    end, "16 GiB were taken")
end

#: julia-malloc-bomb: takes memory by the C library [memory, signal]
function julia_malloc_bomb()
    for _ in 1:1000
        memory = ccall(:malloc, Ptr{UInt8}, (Csize_t,), 1 << 24)
        memory == C_NULL && return "contained: ENOMEM"
        ccall(:memset, Ptr{Cvoid}, (Ptr{UInt8}, Cint, Csize_t), memory, 1, 1 << 24)
    end
    "escaped: 16 GiB were taken"
end

#: julia-shared-bomb: takes memory that counts for nobody [memory, signal]
function julia_shared_bomb()
    for _ in 1:1000
        memory = ccall(:mmap, Ptr{UInt8}, (Csize_t, Csize_t, Cint, Cint, Cint, Clong), 0, 1 << 24, 3, 0x8021, -1, 0)
        reinterpret(Int, memory) == -1 && return "contained: ENOMEM"
    end
    "escaped: 16 GiB were taken"
end

#: julia-thread-bomb: makes threads without end
function julia_thread_bomb()
    thread = Ref{Culong}(0)
    sleeper = dlsym_of(:pause)
    for made in 1:500
        given = ccall(:pthread_create, Cint, (Ref{Culong}, Ptr{Cvoid}, Ptr{Cvoid}, Ptr{Cvoid}), thread, C_NULL, sleeper, C_NULL)
        given == 0 || return "contained: " * get(ERRORS, Int(given), "errno $given")
    end
    "escaped: 500 threads"
end

dlsym_of(name) = ccall(:dlsym, Ptr{Cvoid}, (Ptr{Cvoid}, Cstring), C_NULL, String(name))

#: julia-pipe-bomb: makes pipes without end
function julia_pipe_bomb()
    ends = zeros(Cint, 2)
    for made in 1:1000
        ccall(:pipe, Cint, (Ptr{Cint},), ends) == 0 || return "contained: " * get(ERRORS, Int(Libc.errno()), "errno")
    end
    "escaped: 1000 pipes"
end

#: julia-stack-bomb: recurses without end [error, signal]
function julia_stack_bomb()
    deeper(n) = n < 0 ? 0 : 1 + deeper(n + 1)
    fails(() -> deeper(1), "the stack has no end")
end

#: julia-loop: runs without end [time]
function julia_loop()
    n = 0
    while true
        n += 1
    end
end

#: julia-sleep: sleeps without end [time]
function julia_sleep()
    ccall(:sleep, Cuint, (Cuint,), 3600)
    "escaped: it slept for an hour"
end

#: julia-deaf: hears no signal and runs without end [time]
function julia_deaf()
    for signal in 1:31
        ccall(:signal, Ptr{Cvoid}, (Cint, Ptr{Cvoid}), signal, Ptr{Cvoid}(1))
    end
    while true
        ccall(:sched_yield, Cint, ())
    end
end

#: julia-print-flood: prints without end [output]
function julia_print_flood()
    while true
        ccall(:write, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), 1, zeros(UInt8, 4096), 4096)
    end
end

#: julia-crash: writes where nothing is [signal]
function julia_crash()
    ccall(:abort, Cvoid, ())
end

#: julia-exit: exits as if all were well [exit]
function julia_exit()
    ccall(:_exit, Cvoid, (Cint,), 0)
end

#: julia-forge: answers with what is no message [time, protocol]
function julia_forge()
    ccall(:write, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), 0, fill(0xff, 4), 4)
    ccall(:sleep, Cuint, (Cuint,), 3600)
    "escaped: nobody minded"
end

#: julia-overwrite-base: changes what others run, and meets nobody
function julia_overwrite_base()
    try
        Core.eval(Base, :(taken_over() = 1))
    catch error
        return "contained: " * first(split(sprint(showerror, error), '\n'))
    end
    "contained: only this worker's own copy is changed"
end
