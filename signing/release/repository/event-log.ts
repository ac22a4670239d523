import { createHash } from 'node:crypto';
import * as z from 'zod';
import { signingError } from '../../errors.ts';
import { stableJson } from '../../stable-json.ts';
import { places } from '../layout.ts';
import type { Storage } from '../storage/storage.ts';

export const MAX_LOG_BYTES = 256 * 2 ** 20;
const hex = z.string().regex(/^[0-9a-f]{64}$/);

/** One signing event; a line of `log.jsonl`. */
export const LogEntry = z.strictObject({
  seq: z.int().min(1),
  at: z.string(),
  by: z.string().describe('User of the operating system who ran the command.'),
  action: z.string(),
  role: z.string(),
  version: z.int().min(1).describe('Version of the metadata that was signed.'),
  sha256: hex
    .nullable()
    .describe('Of the signed file; null for timestamp, which carries the head of this log.'),
  keys: z
    .array(z.strictObject({ name: z.string(), keyId: hex }))
    .describe('Who signed; empty for a proposal that nobody signed yet.'),
  details: z.record(z.string(), z.union([z.string(), z.int(), z.null()])),
  previous: hex.describe('Sha-256 of the line before, without its newline; zeros for the first.'),
});
export type LogEntry = z.output<typeof LogEntry>;

/** What is in force of a log: its entries and the hash of the last line. */
export interface EventLog {
  entries: LogEntry[];
  /** Sha-256 of the last line; zeros for an empty log. */
  head: string;
  /** Hash after each entry; `heads[n]` belongs to `n` entries. */
  heads: string[];
  /** Bytes up to the end of the last whole line; a torn write may follow. */
  bytes: number;
}

export interface LogAnchor {
  entries: number;
  head: string;
}

const ZEROS = '0'.repeat(64);

/**
 * Reads and verifies the whole log. A last line without its newline is the trace of a crash and not counted; a log that
 * is shorter than its anchor was truncated.
 *
 * @param anchor head that the signed timestamp names.
 * @throws E_LOG_TAMPERED naming the line.
 */
export async function readEventLog(storage: Storage, anchor?: LogAnchor | null): Promise<EventLog> {
  const text = (await storage.read(places.log, MAX_LOG_BYTES))?.toString('utf8') ?? '';
  return parseEventLog(text, storage.where(places.log), anchor);
}

/** As {@link readEventLog}, of a log that was fetched from elsewhere. @param file what to call it in errors. */
export function parseEventLog(text: string, file: string, anchor?: LogAnchor | null): EventLog {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const log: EventLog = { entries: [], head: ZEROS, heads: [ZEROS], bytes: Buffer.byteLength(whole) };
  for (const line of whole.split('\n').slice(0, -1)) {
    const number = log.entries.length + 1;
    const parsed = LogEntry.safeParse(parseLine(line));
    if (!parsed.success)
      throw tampered(file, `line ${number} is not a log entry`, 'a JSON entry', 'something else');
    const { previous, seq } = parsed.data;
    if (seq !== number)
      throw tampered(file, `line ${number} has another number`, `seq ${number}`, `seq ${seq}`);
    if (previous !== log.head) {
      throw tampered(file, `line ${number} does not continue line ${number - 1}`, log.head, previous);
    }
    log.entries.push(parsed.data);
    log.head = lineHash(line);
    log.heads.push(log.head);
  }
  if (anchor) {
    const found = log.heads[anchor.entries];
    if (found === undefined) {
      throw tampered(
        file,
        'entries are missing at its end',
        `at least ${anchor.entries} entries, as the signed timestamp says`,
        `${log.entries.length} entries`,
      );
    }
    if (found !== anchor.head) {
      throw tampered(
        file,
        `the entries up to ${anchor.entries} are not those the signed timestamp names`,
        anchor.head,
        found,
      );
    }
  }
  return log;
}

/**
 * Appends an entry durably, before the signature it tells of gets its place. The log is read and verified first.
 *
 * @returns the log's new length and head.
 * @throws E_LOG_TAMPERED, E_PERMISSION, E_DISK_FULL.
 */
export async function appendEvent(
  storage: Storage,
  event: Omit<LogEntry, 'seq' | 'previous'>,
  anchor: LogAnchor | null,
): Promise<LogAnchor> {
  const log = await readEventLog(storage, anchor);
  const line = stableJson({ ...event, seq: log.entries.length + 1, previous: log.head }).toString();
  await storage.append(places.log, log.bytes, Buffer.from(line + '\n'));
  return { entries: log.entries.length + 1, head: lineHash(line) };
}

const lineHash = (line: string): string => createHash('sha256').update(line).digest('hex');

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

const tampered = (where: string, what: string, expected: string, found: string) =>
  signingError({
    code: 'E_LOG_TAMPERED',
    message: `The release log was altered: ${what}.`,
    where,
    expected,
    found,
    rule: 'every entry names the hash of the one before it; the signed timestamp names the last',
    fix: 'Find out who altered it; restore the log from a backup before anything else is signed.',
  });
