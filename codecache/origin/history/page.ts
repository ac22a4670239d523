import { html, render } from './html.ts';
import type { Content, Markup } from './html.ts';
import { style } from './style.ts';

/** A whole page. Every text that is not ours goes through preact, which escapes it. */
export const renderPage = (title: string, body: Content): string =>
  '<!doctype html>\n' +
  render(html`
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <style dangerouslySetInnerHTML=${{ __html: style }} />
      </head>
      <body>
        <header>
          <h1>${title}</h1>
          <nav aria-label="History">
            <a href="/history">In force and versions</a>
            <a href="/history/events">Signing events</a>
            <a href="/history.json">JSON</a>
            <a href="/log.jsonl">Event log (raw)</a>
          </nav>
        </header>
        <main>${body}</main>
      </body>
    </html>
  `);

/** A table that scrolls by itself when it is wider than the window. */
export const table = (
  caption: string,
  heads: readonly string[],
  rows: readonly (readonly Content[])[],
  none: string,
): Markup =>
  rows.length === 0
    ? html`<p class="faint">${none}</p>`
    : html`<div class="scroll" tabindex="0">
        <table>
          <caption>
            ${caption}
          </caption>
          <thead>
            <tr>
              ${heads.map(head => html`<th scope="col">${head}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              ([first, ...rest]) =>
                html`<tr>
                  <th scope="row">${first}</th>
                  ${rest.map(cell => html`<td>${cell}</td>`)}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>`;

/** `2027-01-31 08:00:05 UTC` */
export const time = (iso: string | null): Markup | string => {
  const ms = iso === null ? NaN : Date.parse(iso);
  if (!Number.isFinite(ms)) return iso ?? 'not yet';
  const text = new Date(ms).toISOString();
  return html`<time datetime=${text}>${text.slice(0, 19).replace('T', ' ')} UTC</time>`;
};

export const bytes = (count: number): string =>
  count < 10_000
    ? `${count} B`
    : count < 10_000_000
      ? `${(count / 1000).toFixed(0)} kB`
      : `${(count / 1e6).toFixed(1)} MB`;

/** `5 days`, `11 hours`, `7 minutes`; in the past with `ago`. */
export function duration(ms: number): string {
  const [size, unit] = [
    [86_400_000, 'day'],
    [3_600_000, 'hour'],
    [60_000, 'minute'],
  ].find(([length]) => Math.abs(ms) >= 2 * (length as number)) ?? [60_000, 'minute'];
  const count = Math.floor(Math.abs(ms) / (size as number));
  return `${count} ${String(unit)}${count === 1 ? '' : 's'}${ms < 0 ? ' ago' : ''}`;
}

export const short = (sha256: string): Markup =>
  html`<code title=${sha256}>${sha256.slice(0, 12)}${sha256.length > 12 ? '…' : ''}</code>`;

export const versionLink = (version: string): Markup =>
  html`<a href=${`/history/version/${encodeURIComponent(version)}`}>${version}</a>`;

export const diffLink = (from: string, to: string, text: Content): Markup =>
  html`<a href=${`/history/diff?from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}`}>${text}</a>`;
