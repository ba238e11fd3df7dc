# The Julia worker: serves one host over the socket that is standard input, as `src/vm/protocol.rs` says.
#
# The launcher has closed the sandbox before this process began. Standard output and error are the program's. Needs Base
# only, so it runs on every Julia from 1.5 on; baked into a system image it starts without being compiled.

const PROTOCOL = 2

mutable struct Host
    socket::Cint
    frame::Vector{UInt8}
    # Whether the last question came so soon after the answer before it that the next one is looked out for.
    comes_at_once::Bool
end

# In nanoseconds, as in `src/vm/worker.rs`.
const AT_ONCE, LOOK_OUT = 30_000, 20_000
const POLLIN = UInt64(1)

const LOADED = Ref{Union{Nothing,Program}}(nothing)
# The functions that were called of a program, with the types of their arguments: a later load of it compiles them ahead.
const CALLED = Dict{String,Any}()
const CALLED_MAX = 16
const CALLED_OF = Ref{Any}(nothing)
const CPU_MS = Ref(0)
# The processor time at which the limit was set last, in microseconds.
const CPU_SET_AT = Ref(typemin(Int64))

const KEPT = Ref{Any}(nothing)

const F_SETFL, F_GETFL, O_NONBLOCK = Cint(4), Cint(3), Cint(0x800)
const F_DUPFD_CLOEXEC = Cint(1030)
const PROT_READ_WRITE, MAP_SHARED = Cint(3), Cint(1)
const CLOCK_THREAD_CPU, RLIMIT_CPU = Cint(3), Cint(0)
const EINTR = 4

# The host's socket moves away from standard input: a program that reads there finds the end of a file, not our frames.
function take_socket()
    socket = ccall(:fcntl, Cint, (Cint, Cint, Cint), 0, F_DUPFD_CLOEXEC, 10)
    socket < 0 && throw(SystemError("fcntl"))
    # The runtime made it non-blocking when it looked at standard input; nothing but this loop reads it.
    flags = ccall(:fcntl, Cint, (Cint, Cint, Cint), socket, F_GETFL, 0)
    ccall(:fcntl, Cint, (Cint, Cint, Cint), socket, F_SETFL, flags & ~O_NONBLOCK)
    # The stream that Julia made of the socket stays open, for closing it would close whatever has its number by then.
    KEPT[] = stdin
    try
        redirect_stdin(open("/dev/null"))
    catch
        ccall(:close, Cint, (Cint,), 0)
    end
    return socket
end

function map_arena(descriptor::Cint, bytes::Int)
    start = ccall(:mmap, Ptr{Cvoid}, (Ptr{Cvoid}, Csize_t, Cint, Cint, Cint, Int64), C_NULL, bytes, PROT_READ_WRITE, MAP_SHARED, descriptor, 0)
    start == Ptr{Cvoid}(-1) && throw(SystemError("mmap of the arena"))
    ccall(:close, Cint, (Cint,), descriptor)
    ARENA.start, ARENA.bytes = Ptr{UInt8}(start), bytes
end

# Reads what is there into `bytes` after the first `got`; gives how many there are then, or `got` if the host has closed.
function receive!(socket::Cint, bytes::Vector{UInt8}, got::Int)
    while true
        read = GC.@preserve bytes ccall(:read, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), socket, pointer(bytes, got + 1), length(bytes) - got)
        read >= 0 && return got + Int(read)
        Libc.errno() == EINTR || exit(70)
    end
end

# Looks again and again whether a question has come; a `pollfd` is the descriptor, then what is waited for.
function look_out(host::Host)
    began = time_ns()
    wanted = Ref(UInt64(host.socket) | POLLIN << 32)
    while time_ns() - began < LOOK_OUT
        ccall(:poll, Cint, (Ptr{Cvoid}, Culong, Cint), wanted, 1, 0) == 0 || return
    end
end

# The next question, or nothing if the host has closed its end. It asks one at a time, so no read reaches into the next.
function receive(host::Host)
    got = 0
    while got < 4
        now = receive!(host.socket, host.frame, got)
        now == got && (got == 0 ? (return nothing) : exit(70))
        got = now
    end
    whole = 4 + (Int(host.frame[1]) | Int(host.frame[2]) << 8 | Int(host.frame[3]) << 16 | Int(host.frame[4]) << 24)
    whole <= FRAME_BYTES_MAX + 4 || exit(70)
    frame = host.frame
    if whole > length(frame)
        frame = Vector{UInt8}(undef, whole)
        copyto!(frame, 1, host.frame, 1, got)
    end
    while got < whole
        now = receive!(host.socket, frame, got)
        now == got && exit(70)
        got = now
    end
    got == whole || exit(70)
    return unpack(Reader(frame, 5))
end

function send(host::Host, w::Writer)
    length = Base.length(w.bytes) - 4
    for i in 1:4
        w.bytes[i] = (length >> 8(i - 1)) % UInt8
    end
    sent = 0
    while sent < Base.length(w.bytes)
        wrote = GC.@preserve w ccall(:write, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), host.socket, pointer(w.bytes, sent + 1), Base.length(w.bytes) - sent)
        wrote > 0 ? (sent += wrote) : (Libc.errno() == EINTR || exit(70))
    end
end

# A frame with room for its length.
frame() = Writer(zeros(UInt8, 4), 0)

function announce(host::Host)
    w = frame()
    put_map!(w, 1); put_text!(w, "Ready"); put_map!(w, 2)
    put_text!(w, "version"); write_int!(w, PROTOCOL)
    put_text!(w, "engine"); put_text!(w, "Julia $VERSION")
    send(host, w)
end

function put_error!(w::Writer, error::ScriptError)
    put_map!(w, 6)
    put_text!(w, "kind"); put_text!(w, error.kind)
    put_text!(w, "message"); put_text!(w, error.message)
    put_text!(w, "file"); error.file === nothing ? put!(w, 0xc0) : put_text!(w, error.file)
    put_text!(w, "line"); error.line === nothing ? put!(w, 0xc0) : write_int!(w, error.line)
    put_text!(w, "column"); put!(w, 0xc0)
    put_text!(w, "traceback"); put_list!(w, length(error.traceback)); foreach(line -> put_text!(w, line), error.traceback)
end

put_id!(w::Writer, id) = (put_text!(w, "id"); put!(w, 0xcf); put!(w, UInt64(id)))

function failed(id, error::ScriptError)
    w = frame()
    put_map!(w, 1)
    if id === nothing
        put_text!(w, "LoadFailed"); put_map!(w, 1)
    else
        put_text!(w, "Failed"); put_map!(w, 2); put_id!(w, id)
    end
    put_text!(w, "error"); put_error!(w, error)
    return w
end

# Processor time of this thread, in microseconds.
function cpu_us()
    time = Ref((0, 0))
    ccall(:clock_gettime, Cint, (Cint, Ptr{Cvoid}), CLOCK_THREAD_CPU, time)
    return time[][1] * 1_000_000 + time[][2] ÷ 1000
end

# Lets this process use its budget of processor time from now on. Set again only after a second of use: the kernel counts
# whole seconds, and the host's clock stands above it.
function allow_cpu(now::Int64)
    CPU_MS[] == 0 && return
    now - CPU_SET_AT[] < 1_000_000 && CPU_SET_AT[] >= 0 && return
    CPU_SET_AT[] = now
    limit = Ref((UInt64(0), UInt64(0)))
    ccall(:getrlimit, Cint, (Cint, Ptr{Cvoid}), RLIMIT_CPU, limit) == 0 || return
    used = Ref((0, 0))
    ccall(:clock_gettime, Cint, (Cint, Ptr{Cvoid}), Cint(2), used)
    wanted = UInt64(used[][1] + cld(CPU_MS[], 1000) + 1)
    limit[] = (min(wanted, limit[][2]), limit[][2])
    ccall(:setrlimit, Cint, (Cint, Ptr{Cvoid}), RLIMIT_CPU, limit)
end

# What is printed must be in the pipes before the answer is.
function flush_output()
    flush(stdout)
    flush(stderr)
    Libc.flush_cstdio()
end

function answer_load(message::Dict{String,Any})
    LOADED[] = nothing
    program = message["program"]
    context = message["context"]
    try
        LOADED[] = load(program["entry"], program["modules"], context["globals"], context["environment"])
    catch fault
        error = fault isa ScriptError ? fault : Base.invokelatest(explain_anything, fault, catch_backtrace())
        return failed(nothing, error)
    end
    compile_ahead(LOADED[], program["digest"])
    w = frame()
    put_text!(w, "Loaded")
    return w
end

function compile_ahead(program::Program, digest)
    digest == CALLED_OF[] || empty!(CALLED)
    CALLED_OF[] = digest
    for (name, types) in CALLED
        try
            precompile(Base.invokelatest(find_function, program, name), types)
        catch
            # Whoever calls it will be told.
        end
    end
end

explain_anything(fault, trace) =
    LOADED[] === nothing ? ScriptError(fault isa OutOfMemoryError ? "MemoryLimit" : "Runtime", bounded(described(fault), MESSAGE_BYTES_MAX)) : explain(LOADED[], fault, trace)

function answer_call(message::Dict{String,Any}, began::Int64)
    id = message["id"]
    args = message["args"]::Vector{Any}
    LOADED[] === nothing && return failed(id, ScriptError("NoFunction", "no program is loaded"))
    w = frame()
    try
        found = Base.invokelatest(find_function, LOADED[], message["function"]::String)
        name = message["function"]::String
        haskey(CALLED, name) || length(CALLED) >= CALLED_MAX || (CALLED[name] = Tuple(typeof(arg) for arg in args))
        value = Base.invokelatest(found, args...)
        put_map!(w, 1); put_text!(w, "Done"); put_map!(w, 3)
        put_id!(w, id)
        put_text!(w, "value")
        Base.invokelatest(pack!, w, value)
        put_text!(w, "usage"); put_map!(w, 2)
        put_text!(w, "cpu_us"); write_int!(w, cpu_us() - began)
        put_text!(w, "memory_peak_bytes"); write_int!(w, Int(Sys.maxrss()))
        length(w.bytes) - 4 <= FRAME_BYTES_MAX || throw(ValueError("the result takes more than $FRAME_BYTES_MAX bytes"))
        return w
    catch fault
        return failed(id, Base.invokelatest(explain_anything, fault, catch_backtrace()))
    end
end

function serve(host::Host)
    HOST[] = host
    announce(host)
    while answer(host)
    end
end

# Answers one question; false if there is none any more.
function answer(host::Host)
    # The first half is the host's, which may keep arrays there that no question names.
    ARENA.used = ARENA.bytes ÷ 2
    free = time_ns()
    host.comes_at_once && look_out(host)
    message = receive(host)
    message === nothing && return false
    host.comes_at_once = time_ns() - free < AT_ONCE
    began = cpu_us()
    allow_cpu(began)
    kind, content = first(message::Dict{String,Any})
    w = if kind == "Call"
        answer_call(content, began)
    elseif kind == "Load"
        answer_load(content)
    else
        exit(70)
    end
    flush_output()
    send(host, w)
    return true
end

# What the launcher starts. The environment is the launcher's until a load replaces it with the program's.
function main()
    socket = take_socket()
    CPU_MS[] = parse(Int, get(ENV, "CATALOG_CPU_MS", "0"))
    arena = parse(Int, get(ENV, "CATALOG_ARENA_BYTES", "0"))
    arena == 0 || map_arena(Cint(3), arena)
    serve(Host(socket, Vector{UInt8}(undef, 1 << 16), false))
    exit(0)
end
