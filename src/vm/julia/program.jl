# Programs: parsed whole before anything of them runs, each load in a module of its own; and their errors.
#
# A load makes a container module. Libraries are modules in it, the program's entry is the module `Program` in it, and
# `using Name` of a library becomes the relative path to it, however deep it stands. So a later load finds nothing of an
# earlier one, and a library never meets a package of the same name on the machine.

const MESSAGE_BYTES_MAX = 4096
const TRACEBACK_LINES_MAX = 32

struct ScriptError <: Exception
    kind::String
    message::String
    file::Union{Nothing,String}
    line::Union{Nothing,Int}
    traceback::Vector{String}
end
ScriptError(kind, message) = ScriptError(kind, message, nothing, nothing, String[])

# One file of a package.
struct Source
    file::String
    text::String
    # What it consists of, parsed.
    tree::Expr
end

mutable struct Program
    container::Module
    sources::Dict{String,Source}
    # Modules of libraries by their Julia names, and the files that define them.
    libraries::Dict{Symbol,Source}
    loaded::Set{Symbol}
    entry::Union{Nothing,Module}
    # The files that are being included, innermost last.
    open::Vector{String}
    # Functions that were called, by name: looking one up takes longer than calling it.
    found::Dict{String,Any}
end

shown_file(file::AbstractString) = startswith(file, "/") ? String(SubString(file, 2)) : String(file)

# The module that a library's main file defines; else one of the package's name in camel case is made around it.
function library_name(package::String, tree::Expr)
    for part in tree.args
        name = module_name(part)
        name === nothing || return name
    end
    return Symbol(join(uppercasefirst(word) for word in split(package, r"[-_.]")))
end

defines_module(tree::Expr, name::Symbol) = any(part -> module_name(part) === name, tree.args)

# The name of the module that a statement defines, also below a text that documents it.
function module_name(part)
    part isa Expr || return nothing
    part.head === :module && return part.args[2]::Symbol
    return part.head === :macrocall && part.args[1] == GlobalRef(Core, Symbol("@doc")) ? module_name(part.args[end]) : nothing
end

# Parses a text into an expression of head `toplevel`.
function parse_source(file::String, text::String)
    text = startswith(text, '\ufeff') ? String(SubString(text, nextind(text, 1))) : text
    tree = Base.parse_input_line(text; filename = "/" * file)
    tree === nothing && return Expr(:toplevel)
    tree isa Expr || return Expr(:toplevel, tree)
    tree.head in (:error, :incomplete) && throw(syntax_error(file, text, tree))
    tree.head === :toplevel || return Expr(:toplevel, tree)
    for part in tree.args
        part isa Expr && part.head in (:error, :incomplete) && throw(syntax_error(file, text, part))
    end
    return tree
end

function syntax_error(file::String, text::String, fault::Expr)
    reason = isempty(fault.args) ? "cannot be parsed" : fault.args[1]
    message = reason isa AbstractString ? String(reason) : sprint(showerror, reason)
    message = replace(message, "at /" * file * ":" => "at line ")
    return ScriptError("Syntax", bounded(message, MESSAGE_BYTES_MAX), file, line_of_fault(text), String[])
end

# The parser before Julia 1.10 gives no line: it is that of the first line with which the statement cannot be parsed any
# more, or for one that never ends, that of its beginning.
function line_of_fault(text::String)
    at = firstindex(text)
    while at <= ncodeunits(text)
        part, next = try
            Meta.parse(text, at; greedy = true, raise = false)
        catch
            break
        end
        if part isa Expr && part.head in (:error, :incomplete)
            return part.head === :incomplete ? line_at(text, skip_blank(text, at)) : line_of_error(text, at)
        end
        next > at || break
        at = next
    end
    return line_at(text, min(at, ncodeunits(text)))
end

function line_of_error(text::String, at::Int)
    stop = findnext('\n', text, at)
    while stop !== nothing
        part = try
            Meta.parse(text[at:stop], 1; greedy = true, raise = false)[1]
        catch
            nothing
        end
        part isa Expr && part.head === :error && return line_at(text, stop)
        stop = findnext('\n', text, nextind(text, stop))
    end
    return line_at(text, ncodeunits(text))
end

line_at(text::String, at::Int) = 1 + count(==(UInt8('\n')), view(codeunits(text), 1:max(at - 1, 0)))

function skip_blank(text::String, at::Int)
    found = findnext(!isspace, text, at)
    return found === nothing ? ncodeunits(text) : found
end

function load(entry::String, modules::Dict{String,Any}, globals::Dict{String,Any}, environment::Dict{String,Any})
    sources = Dict{String,Source}()
    for module_ in values(modules)
        file, text = module_["file"]::String, module_["source"]::String
        sources[file] = Source(file, text, endswith(file, ".jl") ? parse_source(file, text) : Expr(:toplevel))
    end
    libraries = Dict{Symbol,Source}()
    for (name, module_) in modules
        # Files of a package are named after it, with their paths; libraries by the package alone.
        (name == entry || occursin('/', name)) && continue
        source = sources[module_["file"]]
        libraries[library_name(name, source.tree)] = source
    end
    program = Program(Module(:Container), sources, libraries, Set{Symbol}(), nothing, String[], Dict{String,Any}())
    foreach(name -> delete!(ENV, name), collect(keys(ENV)))
    foreach(((name, value),) -> ENV[name] = value, collect(environment))
    source = sources[modules[entry]["file"]]
    program.entry = open_module(program, :Program, globals)
    provide_storage(program)
    evaluate(program, program.entry, source, 1)
    return program
end

# Makes a module with what a module has: Base, `eval` and an `include` that reads the package's own files.
function open_module(program::Program, name::Symbol, globals::Dict{String,Any} = Dict{String,Any}())
    Core.eval(program.container, Expr(:module, false, name, Expr(:block, prelude(program, 1)...)))
    made = Base.invokelatest(getfield, program.container, name)
    for (key, value) in globals
        Core.eval(made, Expr(:(=), Symbol(key), QuoteNode(value)))
    end
    return made
end

# Lets the entry use `storage`, or call something of its own so.
function provide_storage(program::Program)
    provided = Symbol("#provided")
    Core.eval(program.container, Expr(:module, false, provided, Expr(:block, Expr(:export, :storage), :(const storage = $(Storage())))))
    Core.eval(program.entry, Expr(:using, Expr(:., :., :., provided)))
end

function prelude(program::Program, depth::Int)
    include_here = (where, path) -> include_file(program, where, String(path), depth)
    return Any[
        :(using Base),
        :(eval(x) = $(Core.eval)(@__MODULE__, x)),
        :(include(path::AbstractString) = $include_here(@__MODULE__, path)),
        :(include(transform::Function, path::AbstractString) = $(Base.error)("`include` with a function is not possible here")),
    ]
end

function include_file(program::Program, where::Module, path::String, depth::Int)
    beside = isempty(program.open) ? "/" : dirname("/" * last(program.open))
    file = shown_file(normpath(joinpath(beside, path)))
    source = get(program.sources, file, nothing)
    source === nothing && error("`include`: `$file` is not among the files of this program: $(join(sort!(collect(keys(program.sources))), ", "))")
    return evaluate(program, where, source, depth)
end

function evaluate(program::Program, where::Module, source::Source, depth::Int)
    push!(program.open, source.file)
    result = nothing
    line = LineNumberNode(1, Symbol("/" * source.file))
    try
        for part in source.tree.args
            if part isa LineNumberNode
                line = part
                continue
            end
            load_libraries(program, part)
            part = rewrite(program, part, depth)
            # A statement of its own has no place of its own; what it calls has.
            result = try
                Core.eval(where, Expr(:toplevel, line, part))
            catch fault
                fault isa ScriptError && rethrow()
                throw(explain(program, fault, catch_backtrace(), source.file, line.line))
            end
        end
    finally
        pop!(program.open)
    end
    return result
end

# Loads the libraries that a statement uses, before it runs.
function load_libraries(program::Program, part)
    foreach_import(part) do name
        haskey(program.libraries, name) && load_library(program, name)
    end
end

function load_library(program::Program, name::Symbol)
    name in program.loaded && return
    push!(program.loaded, name)
    source = program.libraries[name]
    if defines_module(source.tree, name)
        evaluate(program, program.container, source, 0)
    else
        evaluate(program, open_module(program, name), source, 1)
    end
end

# Calls `found` with the first name of each absolute path that is imported.
function foreach_import(found::Function, part)
    part isa Expr || return
    if part.head in (:using, :import)
        foreach(path -> foreach_path(found, path), part.args)
    else
        foreach(inner -> foreach_import(found, inner), part.args)
    end
end

function foreach_path(found::Function, path)
    path isa Expr || return
    if path.head === :.
        path.args[1] === :. || found(path.args[1])
    elseif path.head in (:(:), :as)
        foreach_path(found, path.args[1])
    end
end

# Makes `using Name` of a library relative, and gives inner modules their own `include`.
function rewrite(program::Program, part, depth::Int)
    part isa Expr || return part
    if part.head in (:using, :import)
        return Expr(part.head, (rewrite_path(program, path, depth) for path in part.args)...)
    elseif part.head === :module && length(part.args) == 3
        bare = part.args[1] === false
        body = part.args[3].args
        inner = Any[rewrite(program, statement, depth + 1) for statement in body]
        return Expr(:module, false, part.args[2], Expr(:block, (bare ? [] : prelude(program, depth + 1))..., inner...))
    elseif part.head === :quote || part.head === :inert
        return part
    end
    return Expr(part.head, (rewrite(program, inner, depth) for inner in part.args)...)
end

function rewrite_path(program::Program, path, depth::Int)
    path isa Expr || return path
    if path.head in (:(:), :as)
        return Expr(path.head, rewrite_path(program, path.args[1], depth), path.args[2:end]...)
    elseif path.head === :. && path.args[1] isa Symbol && haskey(program.libraries, path.args[1])
        return Expr(:., ntuple(_ -> :., depth + 1)..., path.args...)
    end
    return path
end

# The function of a name: of the entry file itself, or of the one module that it defines.
function find_function(program::Program, name::String)
    known = get(program.found, name, nothing)
    known === nothing || return known
    symbol = Symbol(name)
    for place in places(program.entry)
        isdefined(place, symbol) || continue
        found = getfield(place, symbol)
        found isa Union{Function,Type} || continue
        # Another one may be put into a variable, not into a constant.
        isconst(place, symbol) && (program.found[name] = found)
        return found
    end
    own = [String(n) for place in places(program.entry) for n in names(place; all = true) if is_own_function(place, n)]
    listed = join(sort!(unique!(own))[1:min(end, 16)], ", ")
    throw(ScriptError("NoFunction", "the program has no function `$name`: it defines [$listed]; define `function $name(…) … end` in the entry file"))
end

function is_own_function(place::Module, name::Symbol)
    name in (:eval, :include) || startswith(String(name), "#") || !isdefined(place, name) ? false : getfield(place, name) isa Function && parentmodule(getfield(place, name)) === place
end

function places(entry::Module)
    inner = [getfield(entry, n) for n in names(entry; all = true) if isdefined(entry, n) && getfield(entry, n) isa Module]
    own = filter(m -> m !== entry && parentmodule(m) === entry, inner)
    return length(own) == 1 ? [entry, own[1]] : [entry]
end

# Errors.

function explain(program::Program, fault, trace, file = nothing, line = nothing)
    fault isa ScriptError && return fault
    fault isa ValueError && return ScriptError("Value", fault.message)
    if fault isa LoadError
        return explain(program, fault.error, trace, file, line)
    elseif fault isa TaskFailedException
        inner = fault.task.exception
        trace = fault.task.backtrace === nothing ? trace : fault.task.backtrace
        return explain(program, inner, trace, file, line)
    end
    fault isa OutOfMemoryError && return ScriptError("MemoryLimit", "out of memory")
    message = bounded(described(fault), MESSAGE_BYTES_MAX)
    if startswith(message, "syntax: ") && line !== nothing
        return ScriptError("Syntax", message[9:end], file, line, String[])
    end
    frames = own_frames(program, trace)
    if !isempty(frames)
        file, line = shown_file(String(frames[1].file)), Int(frames[1].line)
    end
    lines = [bounded("$(shown_file(String(frame.file))):$(frame.line): in $(frame_name(frame))", MESSAGE_BYTES_MAX) for frame in frames]
    return ScriptError("Runtime", message, file, line, lines[1:min(end, TRACEBACK_LINES_MAX)])
end

function described(fault)
    try
        return sprint(showerror, fault; context = :limit => true)
    catch
        return "the program raised a $(typeof(fault)), which cannot be shown"
    end
end

# The frames in the program's own files, innermost first, without the one more that each top-level statement makes.
function own_frames(program::Program, trace)
    try
        frames = stacktrace(trace)
        return [frame for frame in frames if haskey(program.sources, shown_file(String(frame.file)))]
    catch
        return Base.StackTraces.StackFrame[]
    end
end

frame_name(frame) = frame.func === Symbol("top-level scope") ? "top-level scope" : "`$(frame.func)`"
