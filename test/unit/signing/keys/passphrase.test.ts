import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { passphraseSource } from '../../../../signing/keys/passphrase.ts';

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-passphrase-'));
});
after(() => rm(directory, { recursive: true, force: true }));

const request = { keyName: 'root-1', where: '/keys/root-1.key.json', isNew: false };

test('the first line of the file is the passphrase, spaces and all', async () => {
  const file = join(directory, 'one');
  await writeFile(file, ' two words \nsecond line\n', { mode: 0o600 });
  assert.equal(await passphraseSource({ file })(request), ' two words ');
});

test("a key's own file in the directory wins, others fall back", async () => {
  const file = join(directory, 'fallback');
  const own = join(directory, 'own');
  await mkdir(own);
  await writeFile(file, 'common\n', { mode: 0o600 });
  await writeFile(join(own, 'root-1'), 'mine\n', { mode: 0o600 });
  const source = passphraseSource({ directory: own, file });
  assert.equal(await source(request), 'mine');
  assert.equal(await source({ ...request, keyName: 'root-2' }), 'common');
});

test('a file that others can read, an empty one, a missing one and no source at all are refused by name', async () => {
  const open = join(directory, 'open');
  await writeFile(open, 'secret\n', { mode: 0o644 });
  await assert.rejects(passphraseSource({ file: open })(request), {
    code: 'E_PASSPHRASE_UNREADABLE',
    where: open,
    found: 'mode 0644',
  });
  const empty = join(directory, 'empty');
  await writeFile(empty, '\n', { mode: 0o600 });
  await assert.rejects(passphraseSource({ file: empty })(request), {
    code: 'E_PASSPHRASE_MISSING',
    where: empty,
  });
  const missing = join(directory, 'missing');
  await assert.rejects(passphraseSource({ file: missing })(request), {
    code: 'E_PASSPHRASE_UNREADABLE',
    where: missing,
  });
  await assert.rejects(passphraseSource({})(request), { code: 'E_PASSPHRASE_MISSING', where: request.where });
  const nowhere = join(directory, 'nowhere');
  await assert.rejects(passphraseSource({ directory: nowhere })(request), {
    code: 'E_PASSPHRASE_MISSING',
    expected: `the file ${join(nowhere, request.keyName)}`,
  });
});

/** Runs a small program on a terminal of its own and types into it when it asks. */
async function onTerminal(isNew: boolean, typed: string[]): Promise<string> {
  const module = fileURLToPath(new URL('../../../../signing/keys/passphrase.ts', import.meta.url));
  const program = join(directory, `ask-${isNew}.ts`);
  await writeFile(
    program,
    `import { passphraseSource } from ${JSON.stringify(module)};
     const source = passphraseSource({ terminal: { input: process.stdin, output: process.stderr } });
     try {
       const got = await source({ keyName: 'root-1', where: 'file', isNew: ${isNew} });
       console.log('GOT ' + Buffer.from(got).toString('hex'));
     } catch (error) { console.log('REFUSED ' + error.code); }`,
  );
  const child = spawn('script', ['-qec', `${process.execPath} ${program}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 20_000,
  });
  let output = '';
  let prompts = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    const asked = output.match(/: /g)?.length ?? 0;
    while (prompts < asked && prompts < typed.length) child.stdin.write(typed[prompts++]!);
  });
  await new Promise(resolve => child.on('close', resolve));
  return output;
}

test('at a terminal it asks without echo, takes backspace, and ends on Ctrl-C', async () => {
  const [once, aborted] = await Promise.all([
    onTerminal(false, ['secrex\u007ft\r']),
    onTerminal(false, ['abc\u0003']),
  ]);
  assert.match(once, new RegExp(`GOT ${Buffer.from('secret').toString('hex')}`));
  assert.doesNotMatch(once, /secre/);
  assert.match(aborted, /REFUSED E_ABORTED/);
});

test('a new key is asked for twice and differing answers are refused', async () => {
  assert.match(await onTerminal(true, ['first\r', 'second\r']), /REFUSED E_PASSPHRASE_WRONG/);
});
