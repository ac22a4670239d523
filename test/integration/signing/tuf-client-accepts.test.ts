import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { BaseFetcher, Updater } from 'tuf-js';
import { DownloadHTTPError } from 'tuf-js/dist/error.js';
import { ChannelPointer, QueueChannels } from '../../../lib/protocol/release.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';

let directory: string;
let lab: ReleaseRepositoryLab;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-signing-'));
  lab = await makeReleaseRepository({ directory, queues: { CERN: 'canary' } });
});
after(() => rm(directory, { recursive: true, force: true }));

/** Reads a public directory as tuf-js would read it over HTTP. */
class DirectoryFetcher extends BaseFetcher {
  override async fetch(url: string) {
    const path = join(lab.publicDirectory, new URL(url).pathname);
    const bytes = await readFile(path).catch(() => {
      throw new DownloadHTTPError('not found', 404);
    });
    return new Blob([new Uint8Array(bytes)]).stream() as never;
  }
}

async function updater(name: string, root = lab.rootJson): Promise<Updater> {
  const metadataDir = join(directory, name);
  await mkdir(metadataDir, { recursive: true });
  await writeFile(join(metadataDir, 'root.json'), root);
  return new Updater({
    metadataDir,
    targetDir: metadataDir,
    metadataBaseUrl: 'http://repository.invalid/metadata',
    targetBaseUrl: 'http://repository.invalid/targets',
    fetcher: new DirectoryFetcher(),
  });
}

async function download(client: Updater, path: string): Promise<Buffer> {
  const info = await client.getTargetInfo(path);
  assert.ok(info, `${path} is known`);
  return readFile(await client.downloadTarget(info));
}

test('tuf-js accepts the metadata and every delegated target', async () => {
  const client = await updater('first');
  await client.refresh();
  const pointer = ChannelPointer.parse(
    JSON.parse((await download(client, 'channels/stable.json')).toString()),
  );
  const canary = ChannelPointer.parse(
    JSON.parse((await download(client, 'channels/canary.json')).toString()),
  );
  const queues = QueueChannels.parse(JSON.parse((await download(client, 'queues/channels.json')).toString()));
  assert.equal(pointer.current.version, '1.0.0');
  assert.deepEqual(canary.current, pointer.current);
  assert.deepEqual(queues, { schema: 1, serial: 2, default: 'stable', queues: { CERN: 'canary' } });
  const pilot = await client.getTargetInfo(pointer.current.pilot.path);
  assert.equal(pilot?.hashes.sha256, pointer.current.pilot.sha256);
  const custom = pilot?.custom as { version: string; files: Record<string, string> };
  assert.equal(custom.version, '1.0.0');
  assert.deepEqual(Object.keys(custom.files), ['manifest.json', 'pilot.mjs']);
  assert.ok((await download(client, pointer.current.runtimes['linux-x64']!.path)).length > 0);
  assert.equal(await client.getTargetInfo('pilot/9.9.9/pilot-9.9.9.tar.gz'), undefined);
});

test('tuf-js follows a new release, a promotion, a refresh and a new root', async () => {
  const client = await updater('second');
  await client.refresh();
  await lab.addPilot('1.1.0');
  await lab.promote({ version: '1.1.0', channel: 'canary' });
  await lab.promote({ fromChannel: 'canary', channel: 'stable' });
  await lab.resign('root');
  await lab.publish();
  await lab.refresh();
  const again = await updater('second', await readFile(join(directory, 'second', 'root.json')));
  await again.refresh();
  const pointer = ChannelPointer.parse(
    JSON.parse((await download(again, 'channels/stable.json')).toString()),
  );
  assert.equal(pointer.serial, 2);
  assert.equal(pointer.current.version, '1.1.0');
  assert.equal(pointer.previous?.version, '1.0.0');
  const root = JSON.parse(await readFile(join(directory, 'second', 'root.json'), 'utf8')) as {
    signed: { version: number };
  };
  assert.equal(root.signed.version, 2);
});

test('openssl verifies the signatures as the sh bootstrap will: file bytes with the newlines un-escaped', async () => {
  const metadata = join(lab.publicDirectory, 'metadata');
  const root = JSON.parse(lab.rootJson.toString()) as {
    signed: {
      roles: Record<string, { keyids: string[] }>;
      keys: Record<string, { keyval: { public: string } }>;
    };
  };
  const check = async (file: string, role: string) => {
    const text = await readFile(join(metadata, file), 'utf8');
    const parsed = JSON.parse(text) as { signatures: { keyid: string; sig: string }[] };
    const from = text.indexOf('"signed":') + '"signed":'.length;
    const signed = join(directory, `${file}.signed`);
    await writeFile(signed, text.slice(from, -1).replaceAll('\\n', '\n'));
    let good = 0;
    for (const { keyid, sig } of parsed.signatures) {
      if (!root.signed.roles[role]!.keyids.includes(keyid)) continue;
      await writeFile(join(directory, 'key.pem'), root.signed.keys[keyid]!.keyval.public);
      await writeFile(join(directory, 'sig'), Buffer.from(sig, 'hex'));
      const said = execFileSync(
        'openssl',
        [
          'dgst',
          '-sha256',
          '-verify',
          join(directory, 'key.pem'),
          '-signature',
          join(directory, 'sig'),
          signed,
        ],
        { encoding: 'utf8' },
      );
      assert.match(said, /Verified OK/);
      good += 1;
    }
    return good;
  };
  assert.equal(await check('timestamp.json', 'timestamp'), 1);
  assert.equal(await check('1.root.json', 'root'), 2);
  assert.equal(await check('1.targets.json', 'targets'), 2);
});

test('files are minified ASCII with sorted keys, one hash, and snapshot and timestamp name length and hash', async () => {
  const metadata = join(lab.publicDirectory, 'metadata');
  const sortedText = (value: unknown): string =>
    JSON.stringify(value, (_, item: unknown) =>
      item !== null && typeof item === 'object' && !Array.isArray(item)
        ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
        : item,
    );
  const names = await readdir(metadata);
  assert.ok(names.length > 10);
  for (const name of names) {
    const text = await readFile(join(metadata, name), 'utf8');
    assert.equal(text, sortedText(JSON.parse(text)), name);
    assert.match(text, /^[\x20-\x7e]+$/);
    for (const [, hashes] of text.matchAll(/"hashes":(\{[^}]*\})/g)) {
      assert.match(hashes!, /^\{"sha256":"[0-9a-f]{64}"\}$/);
    }
    if (/snapshot|timestamp/.test(name)) {
      const { signed } = JSON.parse(text) as {
        signed: { meta: Record<string, { length: number; hashes: object }> };
      };
      for (const entry of Object.values(signed.meta)) assert.ok(entry.length > 0 && entry.hashes);
    }
  }
});
