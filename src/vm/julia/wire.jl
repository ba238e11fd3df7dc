# Values as MessagePack, as `src/value/wire.rs` has them. Uses Base only, of Julia 1.5 and later.
#
# Nothing here trusts the program: what it returns is bounded in depth, objects and bytes before it leaves.

const FRAME_BYTES_MAX = 16 << 20
const OBJECTS_MAX = 1 << 21
const DEPTH_MAX = 64
const REPR_BYTES_MAX = 4096
const BIG_INT_BYTES_MAX = 32 << 10
# From here on arrays go through the arena, where there is one.
const BY_REFERENCE_BYTES = 64 << 10
# Arrays in the arena begin at multiples of this, for vector instructions.
const ARENA_ALIGN = 64
const DTYPES = (Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float32, Float64, Complex{Float32}, Complex{Float64})

struct ValueError <: Exception
    message::String
end

mutable struct Arena
    start::Ptr{UInt8}
    bytes::Int
    # Up to where the answers of the present call have come.
    used::Int
end
const ARENA = Arena(C_NULL, 0, 0)

# Reading. The host's frames are well formed; an index out of bounds ends the worker.

mutable struct Reader
    bytes::Vector{UInt8}
    at::Int
end

function byte(r::Reader)
    value = r.bytes[r.at]
    r.at += 1
    return value
end

function number(r::Reader, width::Int)
    value = UInt64(0)
    for _ in 1:width
        value = value << 8 | byte(r)
    end
    return value
end

function little(r::Reader)
    value = UInt64(0)
    for shift in 0:8:56
        value |= UInt64(byte(r)) << shift
    end
    return value
end

function blob(r::Reader, length::Int)
    value = r.bytes[r.at:r.at+length-1]
    r.at += length
    return value
end

function text(r::Reader, length::Int)
    r.at + length - 1 <= Base.length(r.bytes) || throw(BoundsError(r.bytes, r.at + length - 1))
    value = GC.@preserve r unsafe_string(pointer(r.bytes, r.at), length)
    r.at += length
    return value
end

function unpack(r::Reader)::Any
    marker = byte(r)
    marker <= 0x7f && return Int64(marker)
    marker <= 0x8f && return unpack_map(r, Int(marker & 0x0f))
    marker <= 0x9f && return unpack_list(r, Int(marker & 0x0f))
    marker <= 0xbf && return text(r, Int(marker & 0x1f))
    marker >= 0xe0 && return Int64(reinterpret(Int8, marker))
    marker == 0xc0 && return nothing
    marker == 0xc2 && return false
    marker == 0xc3 && return true
    marker == 0xcb && return reinterpret(Float64, number(r, 8))
    marker == 0xca && return Float64(reinterpret(Float32, UInt32(number(r, 4))))
    0xcc <= marker <= 0xcf && return unsigned_number(number(r, 1 << (marker - 0xcc)))
    marker == 0xd0 && return Int64(reinterpret(Int8, UInt8(number(r, 1))))
    marker == 0xd1 && return Int64(reinterpret(Int16, UInt16(number(r, 2))))
    marker == 0xd2 && return Int64(reinterpret(Int32, UInt32(number(r, 4))))
    marker == 0xd3 && return reinterpret(Int64, number(r, 8))
    0xc4 <= marker <= 0xc6 && return blob(r, Int(number(r, 1 << (marker - 0xc4))))
    0xd9 <= marker <= 0xdb && return text(r, Int(number(r, 1 << (marker - 0xd9))))
    0xdc <= marker <= 0xdd && return unpack_list(r, Int(number(r, 2 << (marker - 0xdc))))
    0xde <= marker <= 0xdf && return unpack_map(r, Int(number(r, 2 << (marker - 0xde))))
    0xc7 <= marker <= 0xc9 && return unpack_ext(r, Int(number(r, 1 << (marker - 0xc7))))
    0xd4 <= marker <= 0xd8 && return unpack_ext(r, 1 << (marker - 0xd4))
    error("marker $marker is not used here")
end

unsigned_number(value::UInt64) = value <= typemax(Int64) ? Int64(value) : value

function unpack_list(r::Reader, length::Int)
    values = Vector{Any}(undef, length)
    for i in 1:length
        values[i] = unpack(r)
    end
    return values
end

function unpack_map(r::Reader, length::Int)
    entries = Dict{String,Any}()
    for _ in 1:length
        key = unpack(r)::String
        entries[key] = unpack(r)
    end
    return entries
end

function unpack_ext(r::Reader, length::Int)
    tag = byte(r)
    tag == 0x01 && return unpack_array(r, false)
    tag == 0x02 && return unpack_array(r, true)
    tag == 0x03 && return Complex{Float64}(reinterpret(Float64, little(r)), reinterpret(Float64, little(r)))
    tag == 0x04 && return unpack_big(r, length)
    tag == 0x05 && return narrow(BigInt(unpack(r)), BigInt(unpack(r)))
    tag == 0x06 && return Symbol(text(r, length))
    tag == 0x0a && return missing
    if tag == 0x08
        type, shown = unpack(r), unpack(r)
        return (; type = type, repr = shown)
    elseif tag == 0x09
        type, fields = unpack(r), unpack(r)
        return (; (Symbol(key) => value for (key, value) in fields)...)
    elseif tag == 0x0b
        return Set{Any}(unpack(r))
    elseif tag == 0x0c
        pairs = unpack(r)
        return Dict{Any,Any}(pairs[i] => pairs[i+1] for i in 1:2:Base.length(pairs))
    end
    error("extension $tag is not used here")
end

function unpack_big(r::Reader, length::Int)
    negative = byte(r) != 0x00
    magnitude = blob(r, length - 1)
    isempty(magnitude) && return big(0)
    value = parse(BigInt, bytes2hex(reverse!(magnitude)); base = 16)
    return negative ? -value : value
end

function narrow(numerator::BigInt, denominator::BigInt)
    small(x) = typemin(Int64) < x <= typemax(Int64)
    small(numerator) && small(denominator) && return Int64(numerator) // Int64(denominator)
    return numerator // denominator
end

function unpack_array(r::Reader, by_reference::Bool)
    type, rank = DTYPES[byte(r)+1], Int(byte(r))
    shape = ntuple(_ -> Int(little(r)), rank)
    return unpack_array(r, type, shape, by_reference)
end

function unpack_array(r::Reader, ::Type{T}, shape::Dims, by_reference::Bool) where {T}
    bytes = sizeof(T) * prod(shape)
    if by_reference
        offset = Int(little(r))
        0 <= offset <= ARENA.bytes - bytes || error("an array beyond the arena")
        # Not a copy: it is the call's for as long as the call runs.
        return unsafe_wrap(Array, Ptr{T}(ARENA.start + offset), shape)
    end
    array = Array{T}(undef, shape)
    r.at + bytes - 1 <= length(r.bytes) || throw(BoundsError(r.bytes, r.at + bytes - 1))
    GC.@preserve array r unsafe_copyto!(Ptr{UInt8}(pointer(array)), pointer(r.bytes, r.at), bytes)
    r.at += bytes
    return array
end

# Writing.

mutable struct Writer
    bytes::Vector{UInt8}
    objects::Int
end
Writer() = Writer(UInt8[], 0)

function count!(w::Writer, depth::Int)
    w.objects += 1
    w.objects > OBJECTS_MAX && throw(ValueError("the result holds more than $OBJECTS_MAX values"))
    length(w.bytes) > FRAME_BYTES_MAX && throw(ValueError("the result takes more than $FRAME_BYTES_MAX bytes"))
    depth > DEPTH_MAX && throw(ValueError("the result nests deeper than $DEPTH_MAX levels, or contains itself"))
    return nothing
end

put!(w::Writer, value::UInt8) = (push!(w.bytes, value); nothing)

function put!(w::Writer, value::Union{UInt16,UInt32,UInt64})
    for shift in 8*(sizeof(value)-1):-8:0
        push!(w.bytes, (value >> shift) % UInt8)
    end
end

function put_little!(w::Writer, value::UInt64)
    for shift in 0:8:56
        push!(w.bytes, (value >> shift) % UInt8)
    end
end

function put_raw!(w::Writer, source::Ptr, bytes::Int)
    length(w.bytes) + bytes > FRAME_BYTES_MAX && throw(ValueError("the result takes more than $FRAME_BYTES_MAX bytes"))
    at = length(w.bytes)
    resize!(w.bytes, at + bytes)
    GC.@preserve w unsafe_copyto!(pointer(w.bytes, at + 1), Ptr{UInt8}(source), bytes)
    return nothing
end

function head!(w::Writer, length::Int, short::UInt8, short_max::Int, long::Vector{UInt8})
    if length <= short_max
        put!(w, short | UInt8(length))
    elseif length <= 0xff && Base.length(long) == 3
        put!(w, long[1]); put!(w, UInt8(length))
    elseif length <= 0xffff
        put!(w, long[end-1]); put!(w, UInt16(length))
    else
        put!(w, long[end]); put!(w, UInt32(length))
    end
end
const STR, BIN, EXT, LIST, MAP = UInt8[0xd9, 0xda, 0xdb], UInt8[0xc4, 0xc5, 0xc6], UInt8[0xc7, 0xc8, 0xc9], UInt8[0xdc, 0xdd], UInt8[0xde, 0xdf]

put_text!(w::Writer, text::String) = (head!(w, sizeof(text), 0xa0, 31, STR); GC.@preserve text put_raw!(w, pointer(text), sizeof(text)))
put_bytes!(w::Writer, bytes::Vector{UInt8}) = (head!(w, length(bytes), 0x00, -1, BIN); GC.@preserve bytes put_raw!(w, pointer(bytes), length(bytes)))
put_list!(w::Writer, length::Int) = head!(w, length, 0x90, 15, LIST)
put_map!(w::Writer, length::Int) = head!(w, length, 0x80, 15, MAP)
ext_head!(w::Writer, length::Int, tag::UInt8) = (head!(w, length, 0x00, -1, EXT); put!(w, tag))

# An extension whose content is written by `fill` before its length is known.
function ext!(fill::Function, w::Writer, tag::UInt8)
    inner = Writer(UInt8[], w.objects)
    fill(inner)
    w.objects = inner.objects
    ext_head!(w, length(inner.bytes), tag)
    GC.@preserve inner put_raw!(w, pointer(inner.bytes), length(inner.bytes))
end

pack!(w::Writer, value, depth::Int = 0) = (count!(w, depth); write!(w, value, depth))

write!(w::Writer, ::Nothing, ::Int) = put!(w, 0xc0)
write!(w::Writer, ::Missing, ::Int) = ext_head!(w, 0, 0x0a)
write!(w::Writer, value::Bool, ::Int) = put!(w, value ? 0xc3 : 0xc2)
write!(w::Writer, value::Union{Int8,Int16,Int32,Int64}, ::Int) = write_int!(w, Int64(value))
write!(w::Writer, value::Union{UInt8,UInt16,UInt32}, ::Int) = write_int!(w, Int64(value))
write!(w::Writer, value::UInt64, ::Int) = value <= typemax(Int64) ? write_int!(w, Int64(value)) : (put!(w, 0xcf); put!(w, value))
write!(w::Writer, value::Union{Int128,UInt128}, depth::Int) =
    typemin(Int64) <= value <= typemax(Int64) ? write_int!(w, Int64(value)) : write!(w, big(value), depth)
write!(w::Writer, value::Union{Float16,Float32,Float64}, ::Int) = (put!(w, 0xcb); put!(w, reinterpret(UInt64, Float64(value))))
write!(w::Writer, value::Symbol, ::Int) = (text = String(value); ext_head!(w, sizeof(text), 0x06); GC.@preserve text put_raw!(w, pointer(text), sizeof(text)))
write!(w::Writer, value::AbstractChar, depth::Int) = write!(w, string(value), depth)
write!(w::Writer, value::AbstractString, ::Int) = (text = String(value); isvalid(text) ? put_text!(w, text) : put_bytes!(w, Vector{UInt8}(text)))
write!(w::Writer, value::Vector{UInt8}, ::Int) = length(value) < BY_REFERENCE_BYTES ? put_bytes!(w, value) : write_array!(w, value)
write!(w::Writer, value::Tuple, depth::Int) = write_list!(w, value, length(value), depth)

function write_int!(w::Writer, value::Int64)
    -32 <= value <= 127 && return put!(w, value % UInt8)
    put!(w, 0xd3)
    put!(w, reinterpret(UInt64, value))
end

function write!(w::Writer, value::BigInt, ::Int)
    hex = value == 0 ? "" : string(abs(value); base = 16)
    magnitude = reverse!(hex2bytes(isodd(length(hex)) ? "0" * hex : hex))
    length(magnitude) <= BIG_INT_BYTES_MAX || throw(ValueError("an integer of the result has more than $BIG_INT_BYTES_MAX bytes"))
    ext_head!(w, 1 + length(magnitude), 0x04)
    put!(w, value < 0 ? 0x01 : 0x00)
    GC.@preserve magnitude put_raw!(w, pointer(magnitude), length(magnitude))
end

write!(w::Writer, value::Rational, depth::Int) = ext!(w, 0x05) do inner
    pack!(inner, big(numerator(value)), depth + 1)
    pack!(inner, big(denominator(value)), depth + 1)
end

function write!(w::Writer, value::Complex{T}, depth::Int) where {T<:Real}
    exact = T <: Union{Float16,Float32,Float64} || T <: Integer && all(x -> abs(x) <= 1 << 53, (real(value), imag(value)))
    exact || return write_struct!(w, value, depth)
    ext_head!(w, 16, 0x03)
    put_little!(w, reinterpret(UInt64, Float64(real(value))))
    put_little!(w, reinterpret(UInt64, Float64(imag(value))))
end

function write_list!(w::Writer, values, length::Int, depth::Int)
    put_list!(w, length)
    for value in values
        pack!(w, value, depth + 1)
    end
end

write!(w::Writer, values::BitArray, ::Int) = write_array!(w, Array{Bool}(values))

function write!(w::Writer, values::AbstractArray{T,N}, depth::Int) where {T,N}
    T in DTYPES && return write_array!(w, values isa Array ? values : collect(values))
    # A vector of anything is a list; other shapes keep theirs beside it.
    N == 1 && return write_undef_list!(w, values, depth)
    ext!(w, 0x09) do inner
        put_text!(inner, bounded(string(typeof(values)), REPR_BYTES_MAX))
        put_map!(inner, 2)
        put_text!(inner, "size")
        pack!(inner, size(values), depth + 1)
        put_text!(inner, "data")
        pack!(inner, vec(values), depth + 1)
    end
end

function write_undef_list!(w::Writer, values::AbstractVector, depth::Int)
    put_list!(w, length(values))
    for i in eachindex(values)
        isassigned(values, i) ? pack!(w, values[i], depth + 1) : pack!(w, Undefined(), depth + 1)
    end
end

struct Undefined end
write!(w::Writer, ::Undefined, ::Int) = write_opaque!(w, "undef", "#undef")

function write_array!(w::Writer, array::Array{T,N}) where {T,N}
    bytes = sizeof(T) * length(array)
    dtype = UInt8(findfirst(==(T), DTYPES) - 1)
    offset = bytes >= BY_REFERENCE_BYTES ? place!(array, bytes) : nothing
    head = 2 + 8N
    ext_head!(w, offset === nothing ? head + bytes : head + 8, offset === nothing ? 0x01 : 0x02)
    put!(w, dtype)
    put!(w, UInt8(N))
    foreach(n -> put_little!(w, UInt64(n)), size(array))
    offset === nothing || return put_little!(w, UInt64(offset))
    GC.@preserve array put_raw!(w, pointer(array), bytes)
end

# Gives the offset of an array in the arena: where it lies already, else of a copy, or nothing if there is no room.
function place!(array::Array, bytes::Int)
    ARENA.bytes == 0 && return nothing
    from = Ptr{UInt8}(pointer(array))
    ARENA.start <= from && from + bytes <= ARENA.start + ARENA.bytes && return Int(from - ARENA.start)
    offset = cld(ARENA.used, ARENA_ALIGN) * ARENA_ALIGN
    offset + bytes <= ARENA.bytes || return nothing
    GC.@preserve array unsafe_copyto!(ARENA.start + offset, from, bytes)
    ARENA.used = offset + bytes
    return offset
end

function write!(w::Writer, entries::AbstractDict, depth::Int)
    if all(key -> key isa AbstractString && isvalid(String(key)), keys(entries))
        put_map!(w, length(entries))
        for (key, value) in entries
            count!(w, depth)
            put_text!(w, String(key))
            pack!(w, value, depth + 1)
        end
    else
        ext!(w, 0x0c) do inner
            put_list!(inner, 2 * length(entries))
            for (key, value) in entries
                pack!(inner, key, depth + 1)
                pack!(inner, value, depth + 1)
            end
        end
    end
end

write!(w::Writer, values::AbstractSet, depth::Int) = ext!(inner -> write_list!(inner, values, length(values), depth), w, 0x0b)

function write!(w::Writer, fields::NamedTuple, depth::Int)
    put_map!(w, length(fields))
    for (key, value) in pairs(fields)
        count!(w, depth)
        put_text!(w, String(key))
        pack!(w, value, depth + 1)
    end
end

function write!(w::Writer, value, depth::Int)
    T = typeof(value)
    opaque = value isa Union{Function,Type,Module,Task,Ptr,IO,Regex,Expr,Base.RefValue,AbstractChannel} || isprimitivetype(T)
    opaque && return write_opaque!(w, string(T), shown(value))
    write_struct!(w, value, depth)
end

function write_struct!(w::Writer, value, depth::Int)
    T = typeof(value)
    ext!(w, 0x09) do inner
        put_text!(inner, bounded(string(T), REPR_BYTES_MAX))
        put_map!(inner, fieldcount(T))
        for name in fieldnames(T)
            count!(inner, depth)
            put_text!(inner, String(name))
            pack!(inner, isdefined(value, name) ? getfield(value, name) : Undefined(), depth + 1)
        end
    end
end

write_opaque!(w::Writer, type::String, text::String) = ext!(w, 0x08) do inner
    put_text!(inner, bounded(type, REPR_BYTES_MAX))
    put_text!(inner, bounded(text, REPR_BYTES_MAX))
end

function shown(value)
    try
        return sprint(show, value; context = :limit => true)
    catch
        return "(cannot be shown)"
    end
end

# The start of a text in valid UTF-8.
function bounded(text::String, bytes::Int)
    text = isvalid(text) ? text : String(map(c -> isvalid(c) ? c : '\ufffd', text))
    return sizeof(text) <= bytes ? text : String(SubString(text, 1, prevind(text, bytes + 1 - 3)))
end
