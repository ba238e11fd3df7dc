# What a program keeps beyond one call, as a dictionary from text to values. The host keeps it and is asked in the middle of a load
# or call, as `src/vm/storage.rs` says; it refuses a program whose package asks for no storage. `nothing` is kept as no value.

struct Storage <: AbstractDict{String,Any} end

# Who is asked.
const HOST = Ref{Any}(nothing)

# Asks, and waits for the answer with everything else of this process; `value` counts where there is something to keep.
function ask_storage(question::String, key::Union{Nothing,String}, value = nothing)
    key === nothing || isvalid(key) || throw(ArgumentError("a key of the storage is no valid text"))
    w = frame()
    put_map!(w, 1); put_text!(w, "Storage"); put_map!(w, 1); put_text!(w, "ask")
    if key === nothing
        put_text!(w, question)
    else
        put_map!(w, 1); put_text!(w, question); put_map!(w, question == "Set" ? 2 : 1)
        put_text!(w, "key"); put_text!(w, key)
        question == "Set" && (put_text!(w, "value"); put_kept!(w, value))
    end
    length(w.bytes) - 4 <= FRAME_BYTES_MAX || throw(ArgumentError("the value takes more than $FRAME_BYTES_MAX bytes"))
    send(HOST[]::Host, w)
    message = receive(HOST[]::Host)
    message === nothing && exit(0)
    answer = message["Storage"]["answer"]
    haskey(answer, "Refused") && error(answer["Refused"])
    return answer["Value"]
end

# A value that outlives the call, so nothing of it may lie in the arena.
function put_kept!(w::Writer, value)
    bytes, ARENA.bytes = ARENA.bytes, 0
    try
        Base.invokelatest(pack!, w, value)
    catch fault
        fault isa ValueError ? throw(ArgumentError(replace(fault.message, "the result" => "the value"))) : rethrow()
    finally
        ARENA.bytes = bytes
    end
end

Base.get(::Storage, key::AbstractString, default) = (value = ask_storage("Get", String(key)); value === nothing ? default : value)
Base.get(default::Function, ::Storage, key::AbstractString) = (value = ask_storage("Get", String(key)); value === nothing ? default() : value)
Base.getindex(kept::Storage, key::AbstractString) = get(() -> throw(KeyError(key)), kept, key)
Base.haskey(::Storage, key::AbstractString) = ask_storage("Get", String(key)) !== nothing
Base.setindex!(kept::Storage, value, key::AbstractString) = (ask_storage("Set", String(key), value); kept)
Base.delete!(kept::Storage, key::AbstractString) = (ask_storage("Remove", String(key)); kept)
Base.keys(::Storage) = String[key for key in ask_storage("Keys", nothing)]
Base.length(kept::Storage) = length(keys(kept))

function Base.iterate(kept::Storage, left = keys(kept))
    while !isempty(left)
        key = popfirst!(left)
        value = ask_storage("Get", key)
        value === nothing || return key => value, left
    end
end
