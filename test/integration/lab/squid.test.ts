import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { request } from 'undici';
import { startSquid } from '../../lab/squid.ts';
import { waitUntil } from '../../lab/wait-until.ts';

test('A Squid runs as it is configured, one process or two, with a disk or without', async t => {
  for (const more of ['cache_dir aufs DIRECTORY/disk 64 16 16', 'workers 2\ncache_mem 32 MB']) {
    const squid = await startSquid(
      t,
      ({ port, directory }) =>
        `http_port 127.0.0.1:${port}\nhttp_access deny all\naccess_log stdio:${directory}/access.log\n` +
        more.replace('DIRECTORY', directory),
    );
    const { statusCode, body } = await request(`${squid.url}/anything`);
    await body.dump();
    assert.equal(statusCode, 400);
    await waitUntil('its access log names the request', async () =>
      /NONE\S*\/400/.test(await readFile(join(squid.directory, 'access.log'), 'utf8')),
    );
  }
});

test('A Squid that does not take its configuration is named with what it said', async t => {
  await assert.rejects(
    startSquid(t, () => 'nonsense on'),
    /Squid ended[\s\S]*unrecognized: 'nonsense'/,
  );
});
