import { html } from './html.ts';
import type { Content } from './html.ts';
import type { VersionHistory } from '../../../signing/release/history/history.ts';
import { movesTable, signedBy, verdict } from './overview-page.ts';
import { bytes, diffLink, renderPage, short, table, time } from './page.ts';
import { releaseOf, type StoreHistory } from './read-history.ts';

/** Everything that is signed of one version, and where it was in force when. */
export function versionPage(told: StoreHistory, entry: VersionHistory, nowMs: number): string {
  const { versions } = told.history;
  const before = versions[versions.indexOf(entry) + 1];
  const release = releaseOf(told, entry.version);
  const facts: [string, Content][] = [
    ['Signed', [time(entry.added.at), ` by ${signedBy(entry.added)}, log entry ${entry.added.seq}`]],
    ['Public since', time(entry.added.publicAt)],
    ...(entry.revoked
      ? [
          [
            'Withdrawn',
            [time(entry.revoked.at), ` by ${signedBy(entry.revoked)}, log entry ${entry.revoked.seq}`],
          ] as [string, Content],
        ]
      : []),
    ['Commit', html`<code>${entry.commit}</code>`],
    ['SHA-256 of the tarball', html`<code>${entry.sha256}</code>`],
  ];
  if (release) {
    const requires = Object.entries(release.requires).map(([name, value]) => `${name} ${value}`);
    facts.push(
      ['Size', `${bytes(release.bytes)} (${release.bytes} bytes), unpacked ${bytes(release.unpackedBytes)}`],
      ['Built', `${release.builtAt}${release.builder === null ? '' : ` by ${release.builder}`}`],
      ['Git tag', release.tag ?? 'none'],
      ['Needs', requires.join(', ') || 'nothing in particular'],
      ['Target', html`<code>${release.path}</code>`],
    );
  }
  return renderPage(`Pilot release ${entry.version}`, [
    verdict(told, nowMs),
    html`<dl>
      ${facts.map(
        ([name, value]) =>
          html`<dt>${name}</dt>
            <dd>${value}</dd>`,
      )}
    </dl>`,
    before !== undefined &&
      html`<p>${diffLink(before.version, entry.version, `What changed since ${before.version}`)}</p>`,
    html`<h2>Channels</h2>`,
    movesTable(
      entry.channels.toSorted((a, b) => b.seq - a.seq),
      'The pointers that had it as their current version, newest first.',
    ),
    html`<h2>Files</h2>`,
    table(
      'What is in the tarball, by the hashes that were signed.',
      ['File', 'SHA-256'],
      Object.entries(release?.files ?? {}).map(([path, sha256]) => [
        html`<code>${path}</code>`,
        short(sha256),
      ]),
      'The signed metadata that names its files is not kept here any more.',
    ),
    release &&
      release.attachments.length > 0 && [
        html`<h2>Signed beside it</h2>`,
        html`<ul>
          ${release.attachments.map(path => html`<li><code>${path}</code></li>`)}
        </ul>`,
      ],
  ]);
}
