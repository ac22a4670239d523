import { createHash } from 'node:crypto';

/** The one style sheet of the history pages; the pages can be read without it. */
export const style = `
:root { color-scheme: light dark; --line: #8885; --faint: #6b7280; --good: #15803d; --bad: #b91c1c; --link: #1d4ed8; --head: #8881; }
@media (prefers-color-scheme: dark) { :root { --faint: #9ca3af; --good: #4ade80; --bad: #f87171; --link: #93c5fd; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem 1.5rem 3rem; }
header { border-bottom: 1px solid var(--line); margin-bottom: 1.2rem; }
h1 { font-size: 1.5rem; margin: .4rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
nav a { margin-right: 1.2rem; } a { color: var(--link); }
.scroll { overflow-x: auto; } .scroll table { min-width: 48rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
thead th { white-space: nowrap; color: var(--faint); font-weight: 600; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } code { overflow-wrap: anywhere; }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .6rem .8rem; }
time { white-space: nowrap; } .faint { color: var(--faint); }
.note { border-left: 4px solid var(--good); background: var(--head); padding: .5rem .9rem; margin: .8rem 0; }
.note.bad { border-color: var(--bad); } .bad strong, strong.bad { color: var(--bad); }
.badge { border: 1px solid currentColor; border-radius: .8rem; padding: 0 .5rem; margin-right: .3rem; white-space: nowrap; }
.good { color: var(--good); } .gone { color: var(--bad); }
ins, del { text-decoration: none; } ins { color: var(--good); } del { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; } dt { color: var(--faint); } dd { margin: 0; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
select, button, input { font: inherit; padding: .15rem .4rem; }
`;

/** Nothing is loaded, run or framed; forms come back here. */
export const contentSecurityPolicy =
  `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; ` +
  "form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
