import assert from 'node:assert/strict';
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { answerHistory } from '../../../codecache/origin/history/answer-history.ts';
import { readHistory } from '../../../codecache/origin/history/read-history.ts';
import { openPublicFiles } from '../../../codecache/origin/public-files.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import { halt } from '../../../signing/release/channels/halt.ts';
import { revoke } from '../../../signing/release/channels/revoke.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { get } from './web.ts';

const EVIL = '<script>alert(1)</script>';
let scratch: { path: string; remove(): Promise<void> };
let lab: ReleaseRepositoryLab;

before(async () => {
  scratch = await makeTemporaryDirectory('store-history');
  lab = await makeReleaseRepository({
    directory: scratch.path,
    pilotFiles: { 'README.md': 'one\ntwo\nthree\n' },
  });
  // Whoever signs a build may write into it what he likes.
  const manifest = {
    name: 'pilotage-pilot',
    version: '1.1.0',
    commit: EVIL,
    builtAt: EVIL,
    requires: { node: EVIL },
  };
  await lab.addPilot('1.1.0', {
    'README.md': `one\n${EVIL}\nthree\n`,
    'manifest.json': JSON.stringify(manifest),
    'added.txt': 'new\n',
  });
  await lab.promote({ version: '1.1.0', channel: 'canary' });
  await lab.publish();
  await halt({ ...lab.context, channel: 'canary' });
  await lab.publish();
});
after(() => scratch.remove());

async function store(t: TestContext, from: 'directory' | 'repository' = 'directory', history = true) {
  const source = from === 'directory' ? { directory: lab.publicDirectory } : { repository: lab.directory };
  const server = await serveStore({ ...source, listen: '127.0.0.1:0', log: silentLog, history });
  t.after(() => server.close(0));
  return server.url;
}

const text = async (url: string): Promise<string> => {
  const { status, body } = await get(url);
  assert.equal(status, 200, `${url}: ${body.toString()}`);
  return body.toString();
};

/** What a person reads. */
const plain = (page: string): string =>
  page
    .replace(/<style>[\s\S]*?<\/style>/, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ');

test('at a glance: what is in force where, who signed it, and that the log is whole', async t => {
  for (const from of ['directory', 'repository'] as const) {
    const url = await store(t, from);
    const page = plain(await text(`${url}/history`));
    assert.match(page, /Verified at \d{4}-\d\d-\d\d .* the event log of \d+ entries/);
    assert.match(page, /timestamp \d+ names entry \d+ \( [0-9a-f]{12}… \), the last one/);
    assert.match(
      page,
      /stable 1\.0\.0 every node starts 1\.0\.0 100 % none none none \d{4}.* UTC manager-1, manager-2 \(lab\)/,
    );
    assert.match(page, /canary 1\.1\.0 halted: every node starts 1\.0\.0 0 % 1\.0\.0 none none/);
    assert.match(page, /1\.1\.0 .* builder \(lab\) .* since 1\.0\.0/);
    assert.match(page, /canary 1\.1\.0 halt 0 % 1\.0\.0/);
    assert.match(page, /timestamp \d+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC 2[34] hours/);
    const version = plain(await text(`${url}/history/version/1.0.0`));
    assert.match(version, /Commit lab SHA-256 of the tarball [0-9a-f]{64} /);
    assert.match(version, /README\.md [0-9a-f]{12}…/);
    const events = plain(await text(`${url}/history/events`));
    assert.match(events, /1 \d{4}-.* UTC init root 1 root-1/);
  }
});

test('the difference of two versions: what was signed, files, lines', async t => {
  const url = await store(t);
  const page = await text(`${url}/history/diff?from=1.0.0&to=1.1.0`);
  assert.match(plain(page), /sha256 [0-9a-f]{64} [0-9a-f]{64}/);
  assert.match(plain(page), /Changed: README\.md manifest\.json Added: added\.txt 1 unchanged/);
  assert.match(page, /<del>-two<\/del>/);
  assert.match(page, /<ins>\+&lt;script>alert\(1\)&lt;\/script><\/ins>/);
  assert.match(plain(await text(`${url}/history/diff?from=1.1.0&to=1.0.0`)), /Removed: added\.txt/);
});

test('what a signer writes into a build, and what a stranger asks for, stays text', async t => {
  const url = await store(t);
  const pages = [
    await text(`${url}/history`),
    await text(`${url}/history/version/1.1.0`),
    await text(`${url}/history/events`),
    await text(`${url}/history/diff?from=1.0.0&to=1.1.0`),
  ];
  assert.match(pages[1]!, /Commit<\/dt><dd><code>&lt;script>/);
  for (const path of [
    `/history/version/${encodeURIComponent(EVIL)}`,
    `/history/diff?from=${encodeURIComponent(`"'>${EVIL}`)}&to=1.0.0`,
    `/history?before=${encodeURIComponent(EVIL)}`,
    `/history/version/${EVIL.replace('/', '%2f')}`,
  ]) {
    const answer = await get(url, { path, headers: { 'user-agent': EVIL } });
    assert.equal(answer.status, 404, path);
    assert.match(answer.body.toString(), /There is no version &quot;/);
    pages.push(answer.body.toString());
  }
  for (const page of pages) {
    assert.doesNotMatch(page, /<script/i);
    assert.equal(page.match(/<style>/g)?.length, 1);
    assert.doesNotMatch(page, /\son[a-z]+=|javascript:|src=/i);
  }
  const { headers } = await get(`${url}/history`);
  const policy = String(headers['content-security-policy']);
  assert.match(policy, /^default-src 'none'; style-src 'sha256-[\w+/=]+'; /);
  assert.doesNotMatch(policy, /script-src|unsafe/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal((await get(`${url}/history.json`)).headers['content-type'], 'application/json');
});

test('a log with markup in every field, as a tool of somebody else may write it, stays text', async t => {
  const files = await openPublicFiles({ directory: lab.publicDirectory });
  t.after(() => files.close());
  const told = await readHistory(files, Date.now());
  for (const entry of told.log.entries) {
    Object.assign(entry, { by: EVIL, action: EVIL, at: EVIL, keys: [{ name: EVIL, keyId: EVIL }] });
    entry.details = { [EVIL]: EVIL };
  }
  for (const version of told.history.versions) {
    Object.assign(version, { version: EVIL, commit: EVIL, sha256: EVIL });
    Object.assign(version.added, { by: EVIL, keys: [EVIL], at: EVIL, publicAt: `"'>${EVIL}` });
  }
  told.problems.push(EVIL);
  for (const target of ['/history', '/history/events', `/history/version/${encodeURIComponent(EVIL)}`]) {
    const { status, body } = await answerHistory(target, told, { files, nowMs: Date.now() });
    assert.equal(status, 200);
    assert.ok(body.split('&lt;script>alert(1)').length > 3, target);
    assert.doesNotMatch(body, /<script/i);
  }
});

test('no path leads out, and what cannot be answered is said in words', async t => {
  const url = await store(t);
  for (const [path, status] of [
    ['/history/version/..%2f..%2frepository.json', 404],
    ['/history/../repository.json', 404],
    ['/history/version/%ff', 404],
    ['/history/nothing', 404],
    ['/historyx', 404],
    ['/history/diff', 400],
    ['/history/diff?from=1.0.0', 400],
    ['/history/events?before=-1', 400],
    ['/history/events?before=1e9', 400],
    [`/history/diff?from=${'a'.repeat(5000)}&to=1.0.0`, 400],
    ['/history/diff?from=__proto__&to=constructor', 404],
  ] as const) {
    const answer = await get(url, { path });
    assert.equal(answer.status, status, path.slice(0, 60));
    assert.ok(answer.body.length > 5 && answer.body.length < 10_000, path.slice(0, 60));
    assert.match(answer.headers['cache-control']!, status === 404 ? /max-age=5/ : /no-store/);
  }
});

test('kept while nothing changes, new as soon as something did, and revalidated', async t => {
  const url = await store(t);
  const first = await get(`${url}/history.json`);
  const again = await get(`${url}/history.json`, { headers: { 'if-none-match': first.headers.etag! } });
  assert.equal(again.status, 304);
  assert.equal(first.headers['cache-control'], 'public, max-age=10');
  const head = await get(`${url}/history`, { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal(head.body.length, 0);
  const shown = JSON.parse(first.body.toString()) as { verified: boolean; log: { entries: number } };
  assert.equal(shown.verified, true);
  await lab.refresh();
  await waitUntil('the new entry is shown', async () => {
    const { log } = JSON.parse(await text(`${url}/history.json`)) as typeof shown;
    return log.entries === shown.log.entries + 1;
  });
});

test('whoever asks for costly pages does not hold up who fetches metadata, and a crowd is sent away', async t => {
  const lines = (word: string) => Array.from({ length: 2500 }, (_, i) => `${word} ${i}\n`).join('');
  await lab.addPilot('1.1.1', { 'text.txt': lines('old') });
  await lab.addPilot('1.1.2', { 'text.txt': lines('new') });
  await lab.publish();
  const url = await store(t);
  await text(`${url}/history`);
  const done: string[] = [];
  const costly = get(`${url}/history/diff?from=1.1.1&to=1.1.2`).then(answer => {
    done.push('comparison');
    return answer;
  });
  const crowd = Promise.all(
    Array.from({ length: 60 }, (_, i) =>
      get(`${url}/history/events?before=${i + 1}`).then(({ status }) => status),
    ),
  );
  for (let i = 0; i < 10; i += 1) {
    assert.equal((await get(`${url}/metadata/timestamp.json`)).status, 200);
    done.push('timestamp');
  }
  assert.match((await costly).body.toString(), /-old 0</);
  assert.deepEqual(done, [...Array<string>(10).fill('timestamp'), 'comparison']);
  const statuses = await crowd;
  assert.ok(statuses.includes(200) && statuses.includes(503), statuses.join(' '));
  assert.ok(statuses.filter(status => status === 200).length <= 20, 'few wait');
});

test('a log that was altered is said to be, and a withdrawn version can still be looked at', async t => {
  await revoke({ ...lab.context, version: '1.1.0' });
  await lab.publish();
  const file = join(lab.publicDirectory, 'log.jsonl');
  const before = await readFile(file);
  {
    const url = await store(t);
    assert.match(plain(await text(`${url}/history`)), /1\.1\.0 withdrawn/);
    const version = plain(await text(`${url}/history/version/1.1.0`));
    assert.match(version, /Withdrawn \d{4}-.* by builder \(lab\)/);
    assert.match(version, /README\.md [0-9a-f]{12}…/, 'its metadata is in the log');
    assert.match(plain(await text(`${url}/history/diff?from=1.0.0&to=1.1.0`)), /Changed: README\.md/);
  }
  const cut = before.subarray(0, before.lastIndexOf('\n', before.length - 2) + 1);
  for (const [bytes, words] of [
    [Buffer.from(before.toString().replace('"action":"add"', '"action":"bad"')), /does not continue line/],
    [cut, /entries are missing at its end/],
  ] as const) {
    await writeFile(file, bytes);
    const url = await store(t);
    const page = plain(await text(`${url}/history`));
    assert.match(page, /Do not rely on this page\. .*E_LOG_TAMPERED/);
    assert.match(page, words);
    assert.doesNotMatch(page, /Verified at/);
    assert.match(page, /stable 1\.0\.0/, 'what nodes do is shown all the same');
  }
  await writeFile(file, before);
  // The metadata that once named 1.1.0 is of no more use to clients; only the log can vouch for it.
  for (const name of await readdir(join(lab.publicDirectory, 'metadata'))) {
    const path = join(lab.publicDirectory, 'metadata', name);
    const signed = await readFile(path, 'utf8');
    if (!/^[0-9]+\.releases\.json$/.test(name) || !signed.includes('pilot-1.1.0')) continue;
    await writeFile(path, signed.replaceAll('alert(1)', 'alert(2)'));
  }
  const forged = plain(await text(`${await store(t)}/history/version/1.1.0`));
  assert.doesNotMatch(forged, /alert\(2\)/);
  assert.match(forged, /metadata that names its files is not kept here any more/);
  await appendFile(file, '{"torn');
  assert.match(plain(await text(`${await store(t)}/history`)), /Verified at/);
  await rm(file);
  assert.match(plain(await text(`${await store(t)}/history`)), /Do not rely on this page/);
  await writeFile(file, before);
});

test('without history the address is unknown', async t => {
  const url = await store(t, 'directory', false);
  assert.equal((await get(`${url}/history`)).status, 404);
});
