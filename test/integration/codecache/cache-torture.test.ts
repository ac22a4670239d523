import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import { startNginxCache } from '../../lab/nginx.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import type { Ending } from '../../lab/temporary.ts';
import { startHereCache } from './here-cache.ts';
import { answersIn, converse } from './raw-http.ts';
import type { RawAnswer } from './raw-http.ts';
import { SMUGGLED, rows } from './torture-rows.ts';
import type { Row } from './torture-rows.ts';
import { get, metadata, plant, sha256 } from './web.ts';

/** Each row has a body of its own, which is cold when the row is run first. */
const bodies = new Map(rows.map(row => [row, randomBytes(2000)]));
const targetOf = (row: Row): string => `/targets/row/${sha256(bodies.get(row)!)}.bin`;

const endings: (() => Promise<void> | void)[] = [];
const suite: Ending = { after: cleanup => void endings.unshift(cleanup) };
let ours = '';
let nginx = '';
/** Answers of ours that came from the raw socket. */
let raw = 0;

before(async () => {
  const directory = await temporaryDirectory(suite, 'origin');
  await plant(directory, {
    'metadata/1.root.json': metadata('root', 1),
    'metadata/timestamp.json': metadata('timestamp', 1),
    ...Object.fromEntries(rows.map(row => [targetOf(row).slice(1), bodies.get(row)!])),
  });
  const store = await serveStore({ directory, listen: '127.0.0.1:0', log: silentLog });
  suite.after(() => store.close(0));
  const cache = await startHereCache(suite, [store.url], {
    observe: answered => (raw += answered.raw === true ? 1 : 0),
  });
  ours = cache.url;
  nginx = (await startNginxCache(suite, store.url)).url;
});
after(async () => {
  for (const end of endings) await end();
});

function segmentsOf(row: Row, url: string): string[] {
  const target = targetOf(row);
  const length = SMUGGLED.replace('$T', target).length;
  return [row.send].flat().map(text =>
    text
      .replaceAll('$A', new URL(url).host)
      .replaceAll('$T', target)
      .replaceAll('$E', `"${sha256(bodies.get(row)!)}"`)
      .replaceAll('$L', String(length)),
  );
}

/** The final answers; interim ones may be there or not. */
const finalOf = (bytes: Buffer, row: Row): RawAnswer[] =>
  answersIn(bytes, index => row.bodiless?.includes(index) === true).filter(({ status }) => status >= 200);

/** What is wrong with the answers of ours to a row. */
function faults(row: Row, bytes: Buffer): string[] {
  const answers = finalOf(bytes, row);
  const found = answers.map(({ status }) => status);
  if (found.join() !== row.want.join()) return [`${row.name}: ${found.join()} instead of ${row.want.join()}`];
  const body = bodies.get(row)!;
  return answers.flatMap(({ status, head, body: got }, index) => {
    const whole = status === 200 && row.bodiless?.includes(index) !== true;
    const wrong = [
      whole && !got.equals(body) && 'a wrong body',
      status === 206 && body.indexOf(got) < 0 && 'bytes of something else',
      !/^cache-control: /im.test(head) && 'no Cache-Control',
      !/^date: /im.test(head) && 'no Date',
      !/^x-server-version: /im.test(head) && 'no X-Server-Version',
      status === 405 && !/^allow: GET, HEAD\r$/im.test(head) && 'no Allow',
      // What was not understood may have hidden more than was seen: nothing after it is read.
      [400, 405, 417, 431, 505].includes(status) && !/^connection: close\r$/im.test(head) && 'not closed',
    ];
    return wrong.filter(text => text !== false).map(text => `${row.name}: ${text} in\n${head}`);
  });
}

for (const state of ['cold', 'hot'] as const) {
  test(`every odd request is answered as the specifications say when its object is ${state}`, async () => {
    const wrong: string[] = [];
    for (const row of rows) {
      // Kept by the second, held and known to the raw socket by the third.
      if (state === 'hot') for (let i = 0; i < 3; i++) await get(ours + targetOf(row));
      wrong.push(...faults(row, await converse(ours, segmentsOf(row, ours))));
    }
    assert.deepEqual(wrong, []);
  });
}

test('the raw socket had its part in it', () => assert.ok(raw >= 30, `${raw} answers`));

test('nginx answers in the same class, or it is said why not', async () => {
  const wrong: string[] = [];
  for (const row of rows) {
    for (let i = 0; i < 2; i++) await get(nginx + targetOf(row));
    const { got, why } = row.nginx ?? { got: row.want, why: '' };
    const statuses = (bytes: Buffer): number[] => {
      try {
        return finalOf(bytes, row).map(({ status }) => status);
      } catch {
        return [];
      }
    };
    // It gives up a request that it has to pass on when the client ends its side.
    const enough = (bytes: Buffer) => got.length > 0 && statuses(bytes).length >= got.length;
    const found = statuses(await converse(nginx, segmentsOf(row, nginx), enough));
    const classes = (of: number[]) => of.map(status => Math.floor(status / 100)).join();
    if (classes(found) !== classes(got)) wrong.push(`${row.name}: ${found.join()}, and not ${got.join()}`);
    if (why !== '' && classes(got) === classes(row.want))
      wrong.push(`${row.name}: nginx does no other thing`);
  }
  assert.deepEqual(wrong, []);
});
