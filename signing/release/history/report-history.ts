import type { ChannelMove, HistoryEvent, ReleaseHistory } from './history.ts';
import type { DiffResult } from './release-diff.ts';

/** Versions, newest first, each with the channels that pointed at it; for people. */
export const describeHistory = ({ versions }: ReleaseHistory): string =>
  versions.length === 0
    ? 'Nothing was added yet.'
    : versions
        .map(({ version, commit, added, revoked, channels }) =>
          [
            `${version}  commit ${commit}  signed ${signature(added)}${visibility(added)}`,
            ...channels.map(move => `  ${period(move)}`),
            ...(revoked ? [`  withdrawn ${signature(revoked)}${visibility(revoked)}`] : []),
          ].join('\n'),
        )
        .join('\n');

const signature = ({ at, by, keys }: HistoryEvent): string => `${at} by ${keys.join('+')} (${by})`;
const visibility = ({ publicAt }: HistoryEvent): string => (publicAt === null ? ', not public yet' : '');

function period(move: ChannelMove): string {
  const share = move.percent === null || move.percent === 100 ? '' : ` ${move.percent} %`;
  const sites = move.sites ? ` at ${move.sites} site${move.sites === 1 ? '' : 's'}` : '';
  const when = move.publicAt === null ? 'not public yet' : `${move.publicAt} to ${move.until ?? 'now'}`;
  return `${move.channel}${share}${sites}: ${when}, ${move.action} by ${move.keys.join('+')} (${move.by})`;
}

/** As `diff` would say it, fields first; for people. */
export function describeDiff({ from, to, fields, files, texts }: DiffResult): string {
  const list = (sign: string, paths: string[]) => paths.map(path => `${sign} ${path}`);
  const shown = (texts ?? []).map(
    ({ path, patch, note }) => patch?.trimEnd() ?? `${path}: not shown, ${note}`,
  );
  return [
    `${from} -> ${to}`,
    ...fields.map(field => `  ${field.name}: ${field.from ?? 'none'} -> ${field.to ?? 'none'}`),
    ...list('+', files.added),
    ...list('-', files.removed),
    ...list('~', files.changed),
    `  ${files.unchanged} file${files.unchanged === 1 ? '' : 's'} unchanged`,
    ...shown,
  ].join('\n');
}
