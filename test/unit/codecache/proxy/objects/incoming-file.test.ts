import assert from 'node:assert/strict';
import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { BufferPool } from '../../../../../codecache/proxy/objects/buffer-pool.ts';
import { IncomingFile } from '../../../../../codecache/proxy/objects/incoming-file.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';

test('a file system that fails as late as at close, as those of networks do, ends nothing', async t => {
  const path = join(await temporaryDirectory(t, 'incoming'), 'file');
  const file = await IncomingFile.create(path, new BufferPool());
  await file.append(Buffer.from('bytes'));
  await file.finish(Date.now());
  const linkOf = (fd: string) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return undefined;
    }
  };
  closeSync(Number(readdirSync('/proc/self/fd').find(fd => linkOf(fd) === path)));
  await file.close();
  assert.equal(await readFile(path, 'utf8'), 'bytes');
});
