import type { LogEntry } from './event-log.ts';
import type { RepositoryStatus } from './inspect-repository.ts';

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

/** What a repository holds, what is wrong in it, and what someone has to do soon. */
export function describeStatus(status: RepositoryStatus): string {
  const width = Math.max(0, ...Object.keys(status.roles).map(role => role.length));
  const errors = status.problems.filter(({ severity }) => severity === 'error').length;
  return [
    errors > 0
      ? `NOT in order: ${errors} ${errors === 1 ? 'error' : 'errors'}.`
      : `Verified: ${status.targets} targets, ${status.logEntries} log entries, every signature, hash and expiry.`,
    ...Object.entries(status.roles).map(
      ([role, { version, expires, secondsLeft, due }]) =>
        `  ${role.padEnd(width)}  v${version}  until ${expires} (${duration(secondsLeft)} left)${due ? '  DUE' : ''}`,
    ),
    ...Object.entries(status.channels).map(
      ([channel, { version, serial }]) => `  channel ${channel}: ${version} (serial ${serial})`,
    ),
    ...status.problems.map(
      ({ severity, code, where, message, fix }) => `${severity} ${code}: ${where}: ${message}\n  do: ${fix}`,
    ),
  ].join('\n');
}

const duration = (seconds: number): string =>
  seconds >= 172_800 ? `${Math.floor(seconds / 86_400)} days` : `${Math.floor(seconds / 3600)} hours`;
