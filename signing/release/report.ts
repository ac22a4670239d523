import type { LogEntry } from './event-log.ts';
import type { RepositoryStatus } from './verify-repository.ts';

/** One line per signing event, for people. */
export const describeLog = (entries: readonly LogEntry[]): string =>
  entries
    .map(entry => {
      const details = Object.entries(entry.details)
        .filter(([, value]) => value !== null)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ');
      const keys = entry.keys.map(key => key.name).join('+');
      return `${entry.seq} ${entry.at} ${entry.by} ${entry.action} ${entry.role} v${entry.version} by ${keys || 'nobody'} ${details}`.trim();
    })
    .join('\n');

/** What a verified repository holds, and which roles someone has to sign soon. */
export function describeStatus(status: RepositoryStatus): string {
  const width = Math.max(...Object.keys(status.roles).map(role => role.length));
  return [
    `Verified: ${status.targets} targets, ${status.logEntries} log entries, every signature, hash and expiry.`,
    ...Object.entries(status.roles).map(
      ([role, { version, expires, secondsLeft, due }]) =>
        `  ${role.padEnd(width)}  v${version}  until ${expires} (${duration(secondsLeft)} left)${due ? '  DUE: sign again' : ''}`,
    ),
    ...Object.entries(status.channels).map(
      ([channel, { version, serial }]) => `  channel ${channel}: ${version} (serial ${serial})`,
    ),
    ...(status.staged.length ? [`  signed, not yet published: ${status.staged.join(', ')}`] : []),
  ].join('\n');
}

const duration = (seconds: number): string =>
  seconds >= 172_800 ? `${Math.floor(seconds / 86_400)} days` : `${Math.floor(seconds / 3600)} hours`;
