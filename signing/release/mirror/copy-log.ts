import { libError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import { MAX_LOG_BYTES, parseEventLog, type EventLog, type LogAnchor } from '../repository/event-log.ts';
import { missing, type Copy } from './copy.ts';

/**
 * Copies the event log as far as the signed timestamp vouches for it; it must continue what is here.
 *
 * @throws E_LOG_TAMPERED, E_FILE_MISSING, E_FILE_UNREADABLE when it is too large.
 */
export async function copyLog(copy: Copy, anchor: LogAnchor | null): Promise<void> {
  if (!anchor) return;
  const { from, to } = copy;
  const place = copy.at('log.jsonl');
  const ownBytes = (await to.read(place, MAX_LOG_BYTES)) ?? Buffer.alloc(0);
  const ours = await readOwn(copy, ownBytes, to.where(place));
  if (ours.heads[anchor.entries] === anchor.head) return;
  const bytes = await readLog(copy);
  const theirs = parseEventLog(bytes.toString('utf8'), `${from.name}/log.jsonl`, anchor);
  const here = ours.entries.length;
  let common = Math.min(here, anchor.entries);
  while (ours.heads[common] !== theirs.heads[common]) common -= 1;
  if (common < Math.min(here, anchor.entries)) {
    if (!copy.divergedLog) throw diverged(copy, ours, theirs, common);
    await copy.divergedLog(ownBytes.subarray(endOfLine(ownBytes, common)), common);
  }
  const start = endOfLine(bytes, common);
  copy.onStep?.('write log.jsonl');
  await to.append(place, start, bytes.subarray(start, endOfLine(bytes, anchor.entries)));
  copy.written.push('log.jsonl');
}

/** For who repairs, one that was altered tells another story from its first line on. */
async function readOwn(copy: Copy, bytes: Buffer, where: string): Promise<EventLog> {
  try {
    return parseEventLog(bytes.toString('utf8'), where);
  } catch (error) {
    if (!copy.divergedLog) throw error;
    await copy.divergedLog(bytes, 0);
    return parseEventLog('', where);
  }
}

async function readLog({ from }: Copy): Promise<Buffer> {
  const stream = await from.open('log.jsonl');
  if (!stream) throw missing(from, 'log.jsonl');
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of stream) {
    size += part.length;
    if (size > MAX_LOG_BYTES) {
      throw libError({
        code: 'E_FILE_UNREADABLE',
        message: 'The log is larger than any log may be.',
        where: `${from.name}/log.jsonl`,
        expected: `at most ${MAX_LOG_BYTES} bytes`,
        fix: 'Ask another source.',
      });
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Offset after the newline of line `count`. */
function endOfLine(bytes: Buffer, count: number): number {
  let end = 0;
  for (let line = 0; line < count; line += 1) end = bytes.indexOf(10, end) + 1;
  return end;
}

const diverged = ({ from, to }: Copy, ours: EventLog, theirs: EventLog, common: number) =>
  signingError({
    code: 'E_LOG_TAMPERED',
    message: `The log of the source tells another story than ours from line ${common + 1} on.`,
    where: `${from.name}/log.jsonl`,
    expected: `${ours.heads[common + 1]} as in ${to.name}`,
    found: theirs.heads[common + 1] ?? 'no such line',
    rule: 'a log is only ever continued',
    fix: 'Find out which of the two was altered; after a repository was restored, "release recover" brings them together.',
  });
