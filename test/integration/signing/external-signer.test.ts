import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmod, chown, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createPublicKey } from 'node:crypto';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../../lib/clock.ts';
import { createExternalKey, openExternalKey } from '../../../signing/keys/external-signer.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { readKeyFile, SignerCommand, type ExternalKeyFile } from '../../../signing/keys/key-file.ts';
import { isSignature, publicParts } from '../../../signing/keys/key-scheme.ts';
import { keyIdOf } from '../../../signing/keys/signer.ts';
import { releaseCommand } from '../../lab/release-command.ts';
import { findProgram } from '../../lab/programs.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';

const pkcs11Script = fileURLToPath(new URL('../../../deploy/signers/pkcs11.sh', import.meta.url));
const bytes = Buffer.from('{"_type":"stable","version":7}');
let directory: string;
let remove: () => Promise<void>;
let privatePem: string;
let publicPem: string;

before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('signer'));
  privatePem = join(directory, 'private.pem');
  publicPem = join(directory, 'public.pem');
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', privatePem);
  openssl('pkey', '-in', privatePem, '-pubout', '-out', publicPem);
});
after(() => remove());

const partsIn = async (file: string) => publicParts(createPublicKey(await readFile(file)), file);
const signing = ['openssl', 'dgst', '-sha256', '-sign'];

/** Records a key that `command` signs with. */
const record = async (
  name: string,
  command: string[],
  options: { encoding?: string; environment?: Record<string, string>; publicFile?: string } = {},
) => {
  const { publicFile = publicPem, ...rest } = options;
  return createExternalKey({
    path: join(directory, `${name}.key.json`),
    name,
    public: await partsIn(publicFile),
    signer: SignerCommand.parse({ command, ...rest }),
    nowMs: 0,
    hasTerminal: false,
  });
};

/** Signs with a command that was recorded by other means, so that it need not work. */
async function signWith(command: string[], options: { timeoutSeconds?: number; encoding?: string } = {}) {
  const path = join(directory, 'wild.key.json');
  const parts = await partsIn(publicPem);
  const file: ExternalKeyFile = {
    schema: 1,
    name: 'wild',
    keyId: keyIdOf(parts),
    public: parts,
    createdAt: '2026-01-01T00:00:00Z',
    signer: SignerCommand.parse({ command, ...options }),
  };
  await writeFile(path, JSON.stringify(file), { mode: 0o600 });
  const signer = await openExternalKey((await readKeyFile(path)) as ExternalKeyFile, path, {
    hasTerminal: false,
  });
  return signer.sign(bytes);
}

const shell = (script: string) => ['sh', '-c', script, 'sh', privatePem];

test('openssl signs as a command, in each of the three encodings', async () => {
  const parts = await partsIn(publicPem);
  const hex = shell('openssl dgst -sha256 -sign "$1" | od -An -v -tx1');
  const base64 = shell('openssl dgst -sha256 -sign "$1" | openssl base64');
  for (const signature of [
    await signWith([...signing, privatePem]),
    await signWith(hex, { encoding: 'hex' }),
    await signWith(base64, { encoding: 'base64' }),
  ]) {
    assert.ok(isSignature(parts, bytes, signature));
  }
});

test('the command sees the bytes, its own variables, and nothing else of ours', async () => {
  const seen = join(directory, 'seen');
  const script = `env >"${seen}.env"; tee "${seen}.bytes" | openssl dgst -sha256 -sign "$1"`;
  process.env.PILOTAGE_TEST_SECRET = 'not for signers';
  try {
    const key = await record('watched', shell(script), { environment: { TOKEN_LABEL: 'release' } });
    const ring = openKeyDirectory({
      directory,
      clock: systemClock,
      passphrases: () => assert.fail('nobody is asked for a passphrase'),
    });
    await (await ring.signer('watched')).sign(bytes);
    assert.ok((await readFile(`${seen}.bytes`)).equals(bytes));
    const names = (await readFile(`${seen}.env`, 'utf8')).split('\n').map(line => line.split('=')[0]!);
    const shellsOwn = new Set(['PWD', 'OLDPWD', 'SHLVL', '_', '']);
    assert.deepEqual(names.filter(name => !shellsOwn.has(name)).sort(), [
      'HOME',
      'PATH',
      'PILOTAGE_KEY_ID',
      'PILOTAGE_KEY_NAME',
      'PILOTAGE_KEY_SCHEME',
      'TOKEN_LABEL',
    ]);
    assert.equal(key.canSign, true);
  } finally {
    delete process.env.PILOTAGE_TEST_SECRET;
  }
});

test('a slow command is waited for', async () => {
  const slow = shell('sleep 0.4; openssl dgst -sha256 -sign "$1"');
  assert.ok(isSignature(await partsIn(publicPem), bytes, await signWith(slow, { timeoutSeconds: 30 })));
});

test("another key's signature, garbage and nothing are refused before they are used", async () => {
  const other = join(directory, 'other.pem');
  execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', other]);
  const where = join(directory, 'wild.key.json');
  await assert.rejects(signWith([...signing, other]), { code: 'E_SIGNER_WRONG', where });
  await assert.rejects(signWith(['echo', 'garbage']), { code: 'E_SIGNER_WRONG', found: /garbage/ });
  await assert.rejects(signWith(['true']), { code: 'E_SIGNER_WRONG', found: /^0 bytes/ });
  await assert.rejects(signWith(['echo', 'zz'], { encoding: 'hex' }), { code: 'E_SIGNER_WRONG' });
  await assert.rejects(signWith([...signing, privatePem], { encoding: 'base64' }), {
    code: 'E_SIGNER_WRONG',
  });
  const swapped = shell('cat >/dev/null; echo other bytes | openssl dgst -sha256 -sign "$1"');
  await assert.rejects(signWith(swapped), { code: 'E_SIGNER_WRONG' });
  await assert.rejects(record('wrong', [...signing, other]), { code: 'E_SIGNER_WRONG' });
  assert.ok(
    !(await readdir(directory)).includes('wrong.key.json'),
    'a key is recorded once its command works',
  );
});

test('a command that fails, is not there, floods or hangs is ended and says why', async () => {
  const failing = shell('echo "CKR_PIN_INCORRECT" >&2; exit 7');
  await assert.rejects(signWith(failing), {
    code: 'E_SIGNER_FAILED',
    message: /ended with code 7/,
    found: 'CKR_PIN_INCORRECT',
  });
  await assert.rejects(signWith(['/nonexistent/signer']), {
    code: 'E_SIGNER_FAILED',
    message: /no such program/,
  });
  await assert.rejects(signWith(['sh', '-c', 'kill -9 $$']), { code: 'E_SIGNER_FAILED', message: /SIGKILL/ });
  await assert.rejects(signWith(['cat', '/dev/zero']), { code: 'E_SIGNER_FAILED', message: /more than/ });
  const pidFile = join(directory, 'hanging.pid');
  const hanging = signWith(shell(`sleep 600 & echo $! >"${pidFile}"; wait`), { timeoutSeconds: 1 });
  await assert.rejects(hanging, { code: 'E_SIGNER_FAILED', message: /within 1 s/ });
  const pid = Number(await readFile(pidFile, 'utf8'));
  const isGone = async () => {
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => 'gone Z');
    return / Z /.test(`${state} `);
  };
  await waitUntil('what the command started has ended too', isGone);
});

test('a key file that others can change names no program that we run', async () => {
  await signWith([...signing, privatePem]);
  const path = join(directory, 'wild.key.json');
  await chmod(path, 0o666);
  const file = (await readKeyFile(path)) as ExternalKeyFile;
  await assert.rejects(openExternalKey(file, path, { hasTerminal: false }), {
    code: 'E_KEY_UNREADABLE',
    found: 'mode 0666',
  });
  await chmod(path, 0o600);
  if (process.getuid!() === 0) {
    await chown(path, 65_534, 65_534);
    const opened = openExternalKey(file, path, { hasTerminal: false });
    await assert.rejects(opened, { code: 'E_KEY_UNREADABLE', found: 'owner 65534' });
  }
  const relative = SignerCommand.safeParse({ command: ['./sign.sh'] });
  assert.equal(relative.success, false);
});

test('a key made inside a PKCS#11 token signs through deploy/signers/pkcs11.sh', async () => {
  const softhsm = await findProgram('softhsm2-util', 'softhsm2');
  const pkcs11Tool = await findProgram('pkcs11-tool', 'opensc');
  const tokens = join(directory, 'tokens');
  await mkdir(tokens);
  const configuration = join(directory, 'softhsm2.conf');
  await writeFile(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`);
  const pinFile = join(directory, 'pin');
  await writeFile(pinFile, '987654\n', { mode: 0o600 });
  const library = '/usr/lib/softhsm/libsofthsm2.so';
  const env = { ...process.env, SOFTHSM2_CONF: configuration, PIN: '987654' };
  const options = { env, stdio: 'pipe' as const };
  const label = ['--label', 'release'];
  execFileSync(softhsm, ['--init-token', '--free', ...label, '--so-pin', '1234', '--pin', '987654'], options);
  const tool = (...args: string[]) =>
    execFileSync(
      pkcs11Tool,
      ['--module', library, '--token-label', 'release', '--login', '--pin', 'env:PIN', ...args],
      options,
    );
  tool('--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'manager');
  const publicFile = join(directory, 'token.pem');
  const der = tool('--read-object', '--type', 'pubkey', '--label', 'manager');
  execFileSync('openssl', ['pkey', '-pubin', '-inform', 'DER', '-out', publicFile], { input: der });
  const environment = {
    SOFTHSM2_CONF: configuration,
    PKCS11_MODULE: library,
    PKCS11_TOKEN: 'release',
    PKCS11_KEY: 'manager',
    PKCS11_PIN_FILE: pinFile,
  };
  const key = await record('token', [pkcs11Script], { environment, publicFile });
  const file = (await readKeyFile(key.where)) as ExternalKeyFile;
  const signer = await openExternalKey(file, key.where, { hasTerminal: false });
  assert.ok(isSignature(key.public, bytes, await signer.sign(bytes)));
  const { PKCS11_PIN_FILE: _, ...withoutPin } = environment;
  const asked = await newKeyOnTerminal('asked', publicFile, withoutPin, '987654\r');
  assert.match(asked, /PIN of the token for asked: \r?\n[^]*Made the key asked/);
  assert.doesNotMatch(asked, /987654/);
  await chmod(pinFile, 0o644);
  await assert.rejects(signer.sign(bytes), { code: 'E_SIGNER_FAILED', found: /others can read .*pin/ });
  await writeFile(pinFile, '000000\n');
  await chmod(pinFile, 0o600);
  await assert.rejects(signer.sign(bytes), { code: 'E_SIGNER_FAILED', found: /PIN/ });
});

/** Records a key at a terminal, where the command asks for the PIN. */
async function newKeyOnTerminal(
  name: string,
  publicFile: string,
  environment: Record<string, string>,
  typed: string,
): Promise<string> {
  await releaseCommand(directory);
  const variables = Object.entries(environment).flatMap(pair => ['--env', pair.join('=')]);
  const program = [process.execPath, join(directory, 'release-only.ts'), 'release'];
  const args = ['key', 'new', name, '--keys', directory, '--public', publicFile, ...variables];
  const child = spawn('script', ['-qec', [...program, ...args, '--', pkcs11Script].join(' '), '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 60_000,
  });
  let output = '';
  let isTyped = false;
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    if (isTyped || !output.includes('PIN of the token')) return;
    isTyped = true;
    child.stdin.write(typed);
  });
  await new Promise(resolve => child.on('close', resolve));
  return output;
}
