# Has the worker do what workers do, so that Julia notes what it compiles for that.
let W = Main.CatalogWorker
    function ask(message)
        w = W.frame()
        W.pack!(w, message)
        n = length(w.bytes) - 4
        for i in 1:4
            w.bytes[i] = (n >> 8(i - 1)) % UInt8
        end
        return w.bytes
    end
    main = """
    module Inner
    include("part.jl")
    using Exercise
    struct Point
        x::Float64
        y::Int
    end
    echo(x...) = x
    kinds() = (1, 2.5, "text", :name, nothing, missing, true, 'c', big(2)^70, 1//3, 1.0im, [1.0, 2.0], [1 2; 3 4], Any[1, "a"],
        ["a", "b"], Dict("a" => 1), Dict(1 => 2), Dict{String,Any}("a" => 1), Set([1]), Point(1.0, 2), (a = 1, b = "x"), sin, UInt8[1, 2], Float32[1], [true, false], 1:3)
    fail() = (println("out"); [1, 2][3])
    wrong() = Exercise.double("a") + undefined_name
    deep(n) = n == 0 ? error("deep") : deep(n - 1)
    end
    """
    modules = Dict{String,Any}(
        "app" => Dict{String,Any}("file" => "app/main.jl", "source" => main),
        "app/part.jl" => Dict{String,Any}("file" => "app/part.jl", "source" => "part() = 1\n"),
        "exercise" => Dict{String,Any}("file" => "exercise/main.jl", "source" => "module Exercise\nexport double\ndouble(x) = 2x\nend\n"),
    )
    load(modules) = Dict{String,Any}("Load" => Dict{String,Any}(
        "program" => Dict{String,Any}("language" => "Julia", "entry" => "app", "modules" => modules, "digest" => "00"),
        "context" => Dict{String,Any}("globals" => Dict{String,Any}("given" => 1), "environment" => Dict{String,Any}("A" => "b"))))
    call(f, args...) = Dict{String,Any}("Call" => Dict{String,Any}("id" => 1, "function" => f, "args" => Any[args...]))
    bad = Dict{String,Any}("app" => Dict{String,Any}("file" => "app/main.jl", "source" => "x = 1\ny = = 2\n"))
    frames = Any[
        ask(load(modules)), ask(call("echo", 1, 2.5, "text", nothing, true, Any[1, "b"], Dict("k" => 1.5), [1.0, 2.0], big(3), 1//2, 1.0im, :s)),
        ask(call("echo", 1, 2)), ask(call("kinds")), ask(call("fail")), ask(call("wrong")), ask(call("deep", 20)), ask(call("absent")),
        ask(load(modules)), ask(call("echo", 1)), ask(load(bad)),
    ]
    ends = Vector{Cint}(undef, 2)
    ccall(:socketpair, Cint, (Cint, Cint, Cint, Ptr{Cint}), 1, 1, 0, ends) == 0 || error("socketpair")
    # A message by a call of its own each, as the host sends them one at a time.
    W.announce(W.Host(ends[2], Vector{UInt8}(undef, 1 << 16), false))
    for bytes in frames
        ccall(:write, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), ends[1], bytes, length(bytes)) == length(bytes) || error("write")
        W.answer(W.Host(ends[2], Vector{UInt8}(undef, 1 << 16), true)) || error("no answer")
    end
    ccall(:shutdown, Cint, (Cint, Cint), ends[1], 1)
    W.serve(W.Host(ends[2], Vector{UInt8}(undef, 1 << 16), true))
end
