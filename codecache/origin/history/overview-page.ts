import { html } from './html.ts';
import type { Content, Markup } from './html.ts';
import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { describeChannel } from '../../../signing/release/channels/describe-channel.ts';
import type { ChannelMove, HistoryEvent, VersionHistory } from '../../../signing/release/history/history.ts';
import { bytes, diffLink, duration, renderPage, short, table, time, versionLink } from './page.ts';
import { releaseOf, type StoreHistory } from './read-history.ts';

const MAX_CHOICES = 200;
const MAX_MOVES = 20;

/** What is in force where, which signatures run out when, and every version. */
export function overviewPage(
  told: StoreHistory,
  shown: { versions: VersionHistory[]; next: string | null },
  nowMs: number,
): string {
  const { history } = told;
  const moves = Object.values(history.channels)
    .flat()
    .sort((a, b) => b.seq - a.seq)
    .slice(0, MAX_MOVES);
  return renderPage('Pilot releases', [
    verdict(told, nowMs),
    html`<h2>In force now</h2>`,
    table(
      'Where each channel points, and what that makes nodes do.',
      [
        'Channel',
        'Version',
        'Effect',
        'Rollout',
        'Previous',
        'Least version',
        'Withdrawn',
        'Since',
        'Serial',
      ],
      Object.entries(told.channels).map(([channel, pointer]) => channelRow(told, channel, pointer, nowMs)),
      'No channel points anywhere yet.',
    ),
    html`<h2>Versions</h2>`,
    compareForm(history.versions),
    table(
      'Every version that was signed, newest first.',
      ['Version', 'In force', 'Commit', 'Signed', 'By', 'Public', 'Size', 'SHA-256', 'Changes'],
      shown.versions.map(version => versionRow(told, version)),
      'No version was signed yet.',
    ),
    shown.next !== null &&
      html`<p><a href=${`/history?before=${encodeURIComponent(shown.next)}`}>Older versions</a></p>`,
    html`<h2>Channel moves</h2>`,
    movesTable(moves, `The last ${moves.length} pointers that were signed, newest first.`),
    html`<h2>Signatures</h2>`,
    table(
      'How long the signature of each role lasts.',
      ['Role', 'Version', 'Until', 'Left'],
      Object.entries(told.roles).map(([role, { version, expiresMs }]) => [
        role,
        version,
        time(new Date(expiresMs).toISOString()),
        expiresMs > nowMs
          ? duration(expiresMs - nowMs)
          : html`<strong class="bad">has run out ${duration(expiresMs - nowMs)}</strong>`,
      ]),
      'There is none.',
    ),
  ]);
}

/** Whether the log and the metadata can be believed, in plain words. */
export function verdict(told: StoreHistory, nowMs: number): Markup {
  const { log } = told;
  const problems = told.problems.length > 0 ? told.problems : runOut(told, nowMs);
  if (problems.length > 0) {
    return html`<div class="note bad" role="alert">
      <p><strong>Do not rely on this page.</strong> What the store has could not be verified:</p>
      <ul>
        ${problems.map(problem => html`<li>${problem}</li>`)}
      </ul>
    </div>`;
  }
  const verified = [
    html`<strong>Verified</strong>`,
    ' at ',
    time(new Date(nowMs).toISOString()),
    `: every signature in force, and the event log of ${log.entries.length} entries, each of which names the hash of `,
    'the one before it. ',
    ...logEnd(told),
  ];
  const caution = [
    "This is the store's own look, from its first root on. A node trusts only the root it was given; check with ",
    html`<code>pilotage release verify</code>`,
    '.',
  ];
  return html`<div class="note">
    <p>${verified}</p>
    <p class="faint">${caution}</p>
  </div>`;
}

function logEnd({ anchor, log }: StoreHistory): Content[] {
  if (anchor === null) return ['The signed timestamp does not name its end: entries may be missing there.'];
  const more = log.entries.length - anchor.entries;
  return [
    `The signed timestamp ${anchor.timestamp} names entry ${anchor.entries} (`,
    short(anchor.head),
    `)${more === 0 ? ', the last one' : ''}: up to there nothing was changed or taken away.`,
    more === 0
      ? ''
      : ` ${more} later ${more === 1 ? 'entry tells' : 'entries tell'} of work that is not public yet.`,
  ];
}

/** What has happened since it was verified. */
const runOut = (told: StoreHistory, nowMs: number): string[] =>
  Object.entries(told.roles)
    .filter(([, { expiresMs }]) => expiresMs <= nowMs)
    .map(([role, { version }]) => `The signature of the role ${role}, version ${version}, has run out.`);

function channelRow(told: StoreHistory, channel: string, pointer: ChannelPointer, nowMs: number): Content[] {
  const { rollout } = pointer;
  const moved = told.history.channels[channel as 'stable']?.findLast(move => move.serial === pointer.serial);
  const withdrawn = pointer.yanked.map(version =>
    pointer.kill.includes(version) ? `${version} (killed)` : version,
  );
  return [
    html`<strong>${channel}</strong>`,
    versionLink(pointer.current.version),
    describeChannel(pointer, nowMs),
    `${rollout.percent} %${rollout.sites.length > 0 ? `, ${rollout.sites.length} sites` : ''}`,
    pointer.previous ? versionLink(pointer.previous.version) : 'none',
    pointer.min_version ?? 'none',
    withdrawn.slice(0, 10).join(', ') || 'none',
    moved ? html`${time(moved.publicAt)}<br /><span class="faint">${signedBy(moved)}</span>` : 'unknown',
    pointer.serial,
  ];
}

function versionRow(told: StoreHistory, entry: VersionHistory): Content[] {
  const { versions } = told.history;
  const before = versions[versions.indexOf(entry) + 1];
  const release = releaseOf(told, entry.version);
  const at = whereIn(told, entry.version);
  return [
    versionLink(entry.version),
    entry.revoked ? [...at, html`<span class="badge gone">withdrawn</span>`] : at,
    short(entry.commit),
    time(entry.added.at),
    signedBy(entry.added),
    time(entry.added.publicAt),
    release ? bytes(release.bytes) : 'unknown',
    short(entry.sha256),
    before ? diffLink(before.version, entry.version, `since ${before.version}`) : 'first',
  ];
}

/** Channels that start it: for all their nodes, for a share, or for those outside of a share. */
function whereIn(told: StoreHistory, version: string): Markup[] {
  return Object.entries(told.channels).flatMap(([channel, { current, previous, rollout }]) => {
    const all = rollout.percent === 100 && rollout.sites.length === 0;
    const part =
      current.version === version && rollout.percent > 0
        ? all
          ? ''
          : ` ${rollout.percent} %`
        : previous?.version === version && !all
          ? rollout.percent === 0
            ? ''
            : ' others'
          : undefined;
    return part === undefined ? [] : [html`<span class="badge good">${channel}${part}</span> `];
  });
}

function compareForm(versions: readonly VersionHistory[]): Markup | null {
  if (versions.length < 2) return null;
  const choice = (name: string, label: string, chosen: number) =>
    html`<label>
        ${label}${' '}
        <select name=${name}>
          ${versions
            .slice(0, MAX_CHOICES)
            .map(
              ({ version }, index) =>
                html`<option value=${version} selected=${index === chosen}>${version}</option>`,
            )}
        </select> </label
      >${' '}`;
  return html`<form action="/history/diff" method="get">
    <p>
      ${choice('from', 'Compare', 1)}${choice('to', 'with', 0)}
      <button type="submit">Show what differs</button>
    </p>
  </form>`;
}

export const movesTable = (moves: readonly ChannelMove[], caption: string): Markup =>
  table(
    caption,
    ['Channel', 'Version', 'What', 'Share', 'Instead of', 'Public from', 'Until', 'Signed by', 'Serial'],
    moves.map(move => [
      move.channel,
      versionLink(move.version),
      move.revoked === null ? move.action : `${move.action} ${move.revoked}`,
      share(move),
      move.previous === null ? 'nothing' : versionLink(move.previous),
      time(move.publicAt),
      move.until === null ? (move.publicAt === null ? '' : 'now') : time(move.until),
      signedBy(move),
      move.serial,
    ]),
    'No channel pointed at it.',
  );

const share = ({ percent, sites }: ChannelMove): string =>
  `${percent === null ? 'unknown' : `${percent} %`}${sites ? `, ${sites} site${sites === 1 ? '' : 's'}` : ''}`;

export const signedBy = ({ keys, by }: Pick<HistoryEvent, 'keys' | 'by'>): string =>
  `${keys.join(', ')} (${by})`;
