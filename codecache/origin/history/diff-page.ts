import { html } from './html.ts';
import type { Markup } from './html.ts';
import type { FileDiff } from '../../../signing/release/history/diff-text.ts';
import type { DiffResult } from '../../../signing/release/history/release-diff.ts';
import { diffLink, renderPage, table, versionLink } from './page.ts';

/** What differs between two versions: signed facts, files, lines. */
export function diffPage(diff: DiffResult): string {
  const { from, to, fields, files, texts } = diff;
  const list = (what: string, paths: readonly string[]) =>
    paths.length > 0 && html`<li>${what}: ${paths.map(path => html`<code>${path}</code> `)}</li>`;
  return renderPage(`From ${from} to ${to}`, [
    html`<p>
      ${['From ', versionLink(from), ' to ', versionLink(to), '. ', diffLink(to, from, 'The other way round')]}
    </p>`,
    html`<h2>What was signed of it</h2>`,
    table(
      'What differs besides files.',
      ['What', from, to],
      fields.map(field => [
        field.name,
        html`<code>${field.from ?? 'none'}</code>`,
        html`<code>${field.to ?? 'none'}</code>`,
      ]),
      'Nothing differs.',
    ),
    html`<h2>Files</h2>`,
    html`<ul>
      ${list('Changed', files.changed)}${list('Added', files.added)}${list('Removed', files.removed)}
      <li>${files.unchanged} unchanged</li>
    </ul>`,
    html`<h2>Lines</h2>`,
    texts === undefined
      ? html`<p>The tarball of one of them is not here any more, so that lines cannot be compared.</p>`
      : texts.map(fileDiff),
  ]);
}

const fileDiff = ({ path, change, patch, note }: FileDiff): Markup =>
  html`<section>
    <h3><code>${path}</code> ${change}</h3>
    ${patch === null ? html`<p class="faint">Not shown: ${note}.</p>` : html`<pre>${linesOf(patch).map(line)}</pre>`}
  </section>`;

/** The names of the file stand above it. */
const linesOf = (patch: string): string[] =>
  patch
    .slice(Math.max(0, patch.indexOf('@@')))
    .trimEnd()
    .split('\n');

function line(text: string): Markup {
  if (text.startsWith('+')) return html`<ins>${text}</ins>${'\n'}`;
  if (text.startsWith('-')) return html`<del>${text}</del>${'\n'}`;
  return html`<span>${text}</span>${'\n'}`;
}
