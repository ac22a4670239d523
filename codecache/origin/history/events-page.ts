import { html } from './html.ts';
import type { LogEntry } from '../../../signing/release/repository/event-log.ts';
import { signedBy, verdict } from './overview-page.ts';
import { renderPage, short, table, time } from './page.ts';
import type { StoreHistory } from './read-history.ts';

/** The event log, newest first. */
export const eventsPage = (
  told: StoreHistory,
  shown: { entries: LogEntry[]; next: number | null },
  nowMs: number,
): string =>
  renderPage('Signing events', [
    verdict(told, nowMs),
    table(
      'Every signature that was made, newest first; refreshes of the timestamp included.',
      ['Entry', 'When', 'What', 'Role', 'Version', 'Signed by', 'About', 'SHA-256'],
      shown.entries.map(entry => [
        entry.seq,
        time(entry.at),
        entry.action,
        entry.role,
        entry.version,
        signedBy({ keys: entry.keys.map(({ name }) => name), by: entry.by }),
        Object.entries(entry.details)
          .filter(([, value]) => value !== null)
          .map(([name, value]) => html`${name} ${isHash(value) ? short(String(value)) : value}<br />`),
        entry.sha256 === null ? '' : short(entry.sha256),
      ]),
      'Nothing was signed yet.',
    ),
    shown.next !== null && html`<p><a href=${`/history/events?before=${shown.next}`}>Older events</a></p>`,
  ]);

const isHash = (value: unknown): boolean => /^[0-9a-f]{40,64}$/.test(String(value));
