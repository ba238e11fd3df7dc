# Parses files without running any of them; gives the first fault by the order of their names, or nothing.
function main(texts)
    for file in sort!(collect(keys(texts)))
        try
            Main.CatalogWorker.parse_source(file, texts[file])
        catch fault
            fault isa Main.CatalogWorker.ScriptError || rethrow()
            return (fault.file, fault.line === nothing ? 0 : fault.line, fault.message)
        end
    end
    return nothing
end
