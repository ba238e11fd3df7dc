-- Turns the names of rules into the rules themselves, each once, the gravest first.
local KNOWN = {
  ["secrets"] = {
    severity = "high", deduction = 30, what = "a secret in the text",
    patterns = { "[Pp]assw[o]?r?d%s*[=:]%s*[\"'][^\"']+[\"']", "[Tt]oken%s*[=:]%s*[\"'][^\"']+[\"']" },
    example = 'pass' .. 'word = "hunter2"',
  },
  ["dynamic-code"] = {
    severity = "high", deduction = 30, what = "code that is made at run time",
    patterns = { "%f[%w_]eval%s*%(", "%f[%w_]exec%s*%(" },
    example = "result = ev" .. "al(input)",
  },
  ["weak-hash"] = {
    severity = "medium", deduction = 15, what = "a hash that is broken",
    patterns = { "%f[%w][Mm][Dd]5%f[%W]", "%f[%w][Ss][Hh][Aa]1%f[%W]" },
    example = "digest = md5(text)",
  },
  ["plain-http"] = {
    severity = "medium", deduction = 15, what = "an address without encryption",
    patterns = { "http://[%w%.%-]+" },
    example = 'url = "http://example.org"',
  },
  ["open-listener"] = {
    severity = "low", deduction = 5, what = "a service that listens on every address",
    patterns = { "0%.0%.0%.0" },
    example = 'listen("0.0.0.0", 80)',
  },
}

return function(parameters)
  local seen, active = {}, {}
  for _, name in ipairs(parameters.rules) do
    local rule = KNOWN[name]
    if not rule then
      local names = {}
      for known in pairs(KNOWN) do names[#names + 1] = known end
      local known = table.concat(names, ", ")
      error("parameter `rules`: there is no rule `" .. tostring(name) .. "`; there are " .. known, 0)
    end
    if not seen[name] then
      seen[name] = true
      active[#active + 1] = {
        name = name, severity = rule.severity, deduction = rule.deduction, what = rule.what,
        patterns = rule.patterns, example = rule.example,
      }
    end
  end
  table.sort(active, function(a, b) return a.deduction > b.deduction end)
  return { parameters = { active = active } }
end
