/* See html_page.h. */
#include "html_page.h"

#include "markup.h"

/* Light, or dark where the reader's system is. */
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--page:#fff;--card:#f6f8fa;--line:#d1d9e0;"
    "--good:#1a7f37;--bad:#cf222e;--used:#0969da;--link:#0969da}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--page:#0d1117;--card:#161b22;--line:#3d444d;"
    "--good:#3fb950;--bad:#f85149;--used:#4493f8;--link:#4493f8}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1rem;max-width:75rem;background:var(--page);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.4rem;margin:.5rem 0}h2{font-size:1.1rem;margin:2rem 0 .5rem}\n"
    "code,pre,td,.facts dd{font-family:ui-monospace,monospace;font-size:.85rem}\n"
    ".facts{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;margin:0}\n"
    ".facts dt{color:var(--soft)}.facts dd{margin:0;overflow-wrap:anywhere}\n"
    ".wide{overflow-x:auto;border:1px solid var(--line);border-radius:6px}\n"
    "table{border-collapse:separate;border-spacing:0;width:100%}\n"
    "th,td{padding:.3rem .6rem;text-align:left;border-top:1px solid var(--line);white-space:nowrap;"
    "vertical-align:top}\n"
    "thead th{border-top:0;color:var(--soft);font-weight:600}tbody th{font-weight:600}\n"
    ".matrix thead th{white-space:normal;min-width:7rem;max-width:14rem;overflow-wrap:anywhere}\n"
    "@media(max-width:40rem){body{padding:.6rem;font-size:14px}th,td{padding:.25rem .4rem}tbody th{font-size:.8rem}\n"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere}}\n"
    ".matrix th:first-child{position:sticky;left:0;background:var(--page)}\n"
    ".bits,.none,.soft{color:var(--soft)}.passed{color:var(--good)}.failed{color:var(--bad);font-weight:600}\n"
    "svg{display:block;margin-top:.15rem}.used{fill:var(--used)}.over{fill:var(--bad)}.base{stroke:var(--line)}\n"
    "details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0}\n"
    "summary{padding:.4rem .6rem;cursor:pointer;background:var(--card);border-radius:6px;overflow-wrap:anywhere}\n"
    "pre{margin:0;padding:.6rem;overflow-x:auto}\n"
    "input{font:inherit;width:100%;padding:.4rem .6rem;margin:.5rem 0;border:1px solid var(--line);"
    "border-radius:6px;background:var(--page);color:var(--ink)}\n"
    "li{overflow-wrap:anywhere}a{color:var(--link)}[hidden]{display:none}\n";

/* Shows the box, and of what has a case only what its words occur in. */
static const char script[] =
    "const box=document.getElementById('filter');box.hidden=false;\n"
    "box.addEventListener('input',()=>{const words=box.value.toLowerCase().split(/\\s+/);\n"
    "for(const e of document.querySelectorAll('[data-case]')){const text=e.dataset.case.toLowerCase();\n"
    "e.hidden=!words.every(w=>text.includes(w))}});\n";

/* The page may load nothing and run this script alone; unit/reports.py computes its hash anew. */
#define SCRIPT_HASH "sha256-OGmxxNsKmHEL9B+Nqv9H477GMZL7Nodx8aiiXYWs1nw="

void html_page_open(FILE *f, const char *title)
{
    fprintf(f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
            "script-src '%s'\">\n<title>",
            SCRIPT_HASH);
    print_markup(f, title);
    fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
}

void html_page_close(FILE *f)
{
    fprintf(f, "<script>%s</script>\n</body>\n</html>\n", script);
}
