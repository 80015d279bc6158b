-- What pandoc changes of a document for its page: links lead to pages, tables lie in a box that scrolls, the first
-- heading becomes the title, the name of a known mistake leads to its row, short code stays in one line.
-- QUIRKS: the file that has the rows. ROOT: leads from the page to the folder of all pages, "" or "../".

local quirks = {}
for line in io.lines(os.getenv("QUIRKS")) do
  local name = line:match('<a id="([^"]+)"')
  if name then quirks[name] = true end
end

-- Pages lie as the files in docs/ do, and README.md's is index.html beside them.
local function page_of(target)
  if target:match("^%a+:") then return target end
  target = target:gsub("^docs/", ""):gsub("^components$", "components/index.md"):gsub("README%.md", "index.md")
  return (target:gsub("%.md$", ".html"):gsub("%.md#", ".html#"))
end

function Link(link)
  link.target = page_of(link.target)
  return link
end

function Code(code)
  if #code.text <= 24 then code.classes:insert("short") end
  if not quirks[code.text] then return code end
  return pandoc.Link(code, os.getenv("ROOT") .. "quirks.html#" .. code.text)
end

function Table(table)
  return pandoc.Div(table, { class = "box" })
end

function Pandoc(document)
  local first = document.blocks[1]
  document.meta.title = pandoc.MetaInlines(first.content)
  document.meta.pagetitle = pandoc.utils.stringify(first)
  document.meta.id = first.identifier
  document.blocks:remove(1)
  return document
end
