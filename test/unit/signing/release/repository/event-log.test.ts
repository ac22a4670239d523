import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { places } from '../../../../../signing/release/layout.ts';
import type { Storage } from '../../../../../signing/release/storage/storage.ts';
import { fileStorage } from '../../../../../signing/release/storage/file-storage.ts';
import {
  appendEvent,
  readEventLog,
  type LogAnchor,
} from '../../../../../signing/release/repository/event-log.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-log-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const event = (version: number) => ({
  at: '2026-11-22T12:00:00.000Z',
  by: 'alice',
  action: 'add',
  role: 'releases',
  version,
  sha256: 'a'.repeat(64),
  keys: [{ name: 'builder', keyId: 'b'.repeat(64) }],
  details: { target: 'pilot/1/x', previous: null },
});

async function makeLog(
  name: string,
): Promise<{ storage: Storage; file: string; anchor: LogAnchor; lines: string[] }> {
  const storage = fileStorage(join(directory, name));
  const file = storage.where(places.log);
  let anchor: LogAnchor | null = null;
  for (let version = 1; version <= 4; version += 1)
    anchor = await appendEvent(storage, event(version), anchor);
  return { storage, file, anchor: anchor!, lines: (await readFile(file, 'utf8')).split('\n').slice(0, -1) };
}

test('entries are numbered and chained; a missing file is an empty log', async () => {
  const { storage, anchor } = await makeLog('good');
  const log = await readEventLog(storage, anchor);
  assert.deepEqual(
    log.entries.map(entry => [entry.seq, entry.version]),
    [1, 2, 3, 4].map(n => [n, n]),
  );
  assert.equal(log.head, anchor.head);
  assert.deepEqual((await readEventLog(fileStorage(join(directory, 'none')))).entries, []);
});

test('an altered, removed, doubled, swapped or foreign line is found and named', async () => {
  const { storage, file, lines } = await makeLog('altered');
  const [one, two, three, four] = lines as [string, string, string, string];
  const cases: [string, string[], RegExp][] = [
    ['altered', [one, two.replace('alice', 'mallo'), three, four], /line 3 does not continue line 2/],
    ['first altered', [one.replace('alice', 'mallo'), two, three, four], /line 2/],
    ['removed', [one, three, four], /line 2 has another number/],
    ['first removed', [two, three, four], /line 1 has another number/],
    ['doubled', [one, two, two, three, four], /line 3 has another number/],
    ['swapped', [one, three, two, four], /line 2/],
    ['foreign', [one, '{"hello":1}', two, three, four], /line 2 is not a log entry/],
  ];
  for (const [name, altered, message] of cases) {
    await writeFile(file, altered.join('\n') + '\n');
    await assert.rejects(readEventLog(storage), { code: 'E_LOG_TAMPERED', where: file, message }, name);
  }
});

test('a log cut off at its end, or rewritten whole, does not fit the head in the signed timestamp', async () => {
  const { storage, file, anchor, lines } = await makeLog('cut');
  await writeFile(file, lines.slice(0, 3).join('\n') + '\n');
  assert.equal((await readEventLog(storage)).entries.length, 3, 'the chain alone cannot tell');
  await assert.rejects(readEventLog(storage, anchor), { code: 'E_LOG_TAMPERED', found: '3 entries' });
  await rm(file);
  await assert.rejects(readEventLog(storage, anchor), { code: 'E_LOG_TAMPERED', found: '0 entries' });
  await assert.rejects(appendEvent(storage, event(5), anchor), { code: 'E_LOG_TAMPERED' });
  for (let version = 11; version <= 15; version += 1) await appendEvent(storage, event(version), null);
  await assert.rejects(readEventLog(storage, anchor), { code: 'E_LOG_TAMPERED', expected: anchor.head });
});

test('a line that a crash left half written is not counted, and the next append takes its place', async () => {
  const { storage, file, anchor } = await makeLog('torn');
  await appendFile(file, '{"action":"add","at":"2026');
  assert.equal((await readEventLog(storage, anchor)).entries.length, 4);
  const next = await appendEvent(storage, event(5), anchor);
  const log = await readEventLog(storage, next);
  assert.deepEqual(
    log.entries.map(entry => entry.version),
    [1, 2, 3, 4, 5],
  );
});
