# Loads the worker and compiles what the exercise has noted; Julia then writes all of it as an object file.
Base.reinit_stdio()
Base.include(Main, ARGS[1])
let compiled = 0
    for line in eachline(ARGS[2])
        try
            # Names of closures and of the exercise's own types mean nothing here; what cannot be compiled is left out.
            Core.eval(Main, Meta.parse(line))
            compiled += 1
        catch
        end
    end
end
empty!(LOAD_PATH)
empty!(DEPOT_PATH)
