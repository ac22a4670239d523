import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { signingError } from '../errors.ts';
import { canonicalBytes } from '../stable-json.ts';
import { createKeyFile, type ExternalKeyFile, type SignerCommand } from './key-file.ts';
import { isSignature, type PublicKeyParts } from './key-scheme.ts';
import { keyIdOf, type KnownKey, type Signer } from './signer.ts';

const MAX_SIGNATURE_BYTES = 8192;
const KEPT_STDERR_BYTES = 2000;

/**
 * A signer whose private part a command asks for: a token, a key service, another machine. The bytes go to its stdin, the
 * signature comes on its stdout and is verified before it is used.
 *
 * @param options.hasTerminal a person is there: the command stays in the foreground and can ask for a PIN. Without one it
 * gets a session of its own, so that the deadline ends whatever it started.
 * @throws E_KEY_UNREADABLE when the file is another user's or others may write it: it names a program that runs as the caller.
 */
export async function openExternalKey(
  file: ExternalKeyFile,
  path: string,
  options: { hasTerminal: boolean },
): Promise<Signer> {
  const { mode, uid } = await stat(path);
  if (uid !== 0 && uid !== process.getuid?.()) {
    throw signingError({
      code: 'E_KEY_UNREADABLE',
      message: 'This key file, which names a program to run, belongs to another user.',
      where: path,
      expected: `owner ${process.getuid?.()}, who runs this, or 0`,
      found: `owner ${uid}`,
      fix: `Check what it says and who put it there, then run: chown "$(id -u)" ${path}`,
    });
  }
  if ((mode & 0o022) !== 0) {
    throw signingError({
      code: 'E_KEY_UNREADABLE',
      message: 'Other users can change this key file, which names a program to run.',
      where: path,
      expected: 'mode 0600',
      found: `mode ${(mode & 0o777).toString(8).padStart(4, '0')}`,
      fix: `Check what it says, then run: chmod 600 ${path}`,
    });
  }
  return externalSigner(file, path, options);
}

/**
 * Records a key that a command signs with, after the command has signed a probe with it.
 *
 * @throws E_SIGNER_FAILED, E_SIGNER_WRONG, E_KEY_EXISTS.
 */
export async function createExternalKey(options: {
  path: string;
  name: string;
  public: PublicKeyParts;
  signer: SignerCommand;
  nowMs: number;
  hasTerminal: boolean;
}): Promise<KnownKey> {
  const { path, name } = options;
  const identity = { name, keyId: keyIdOf(options.public), public: options.public };
  const createdAt = new Date(options.nowMs).toISOString();
  const file: ExternalKeyFile = { schema: 1, ...identity, createdAt, signer: options.signer };
  // Not metadata of any role, whoever may get hold of the signature.
  const probe = canonicalBytes({ _type: 'pilotage-key-probe', name, keyid: identity.keyId });
  await externalSigner(file, path, options).sign(probe);
  await createKeyFile(path, file);
  return { ...identity, where: path, canSign: true };
}

const externalSigner = (file: ExternalKeyFile, path: string, options: { hasTerminal: boolean }): Signer => ({
  name: file.name,
  keyId: file.keyId,
  public: file.public,
  sign: async bytes => {
    const output = await runSigner(file, path, bytes, options.hasTerminal);
    const signature = decode(output, file.signer.encoding);
    if (signature !== null && isSignature(file.public, bytes, signature)) return signature;
    throw signingError({
      code: 'E_SIGNER_WRONG',
      message: `What the command of the key "${file.name}" gave is no signature of this key.`,
      where: path,
      expected: `a ${file.public.scheme} signature, ${describeEncoding(file)}`,
      found: `${output.length} bytes: ${printable(output.subarray(0, 48).toString('latin1'))}`,
      rule: 'a signature is verified before it is used',
      fix: 'Check which key of the token the command uses, and the encoding in the key file.',
    });
  },
});

const describeEncoding = ({ public: { scheme }, signer: { encoding } }: ExternalKeyFile): string =>
  `${scheme === 'ecdsa-sha2-nistp256' ? 'DER, ' : ''}${encoding === 'raw' ? 'as bytes' : `in ${encoding}`}`;

function decode(output: Buffer, encoding: SignerCommand['encoding']): Buffer | null {
  if (encoding === 'raw') return output;
  const text = output.toString('latin1').replace(/\s+/g, '');
  const form = encoding === 'hex' ? /^([0-9a-fA-F]{2})+$/ : /^[A-Za-z0-9+/]+={0,2}$/;
  return form.test(text) ? Buffer.from(text, encoding) : null;
}

function runSigner(
  file: ExternalKeyFile,
  path: string,
  bytes: Uint8Array,
  hasTerminal: boolean,
): Promise<Buffer> {
  const [program, ...args] = file.signer.command as [string, ...string[]];
  const { timeoutSeconds } = file.signer;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: {
        PATH: process.env.PATH ?? '/usr/bin:/bin',
        HOME: process.env.HOME ?? '/',
        ...file.signer.environment,
        PILOTAGE_KEY_NAME: file.name,
        PILOTAGE_KEY_ID: file.keyId,
        PILOTAGE_KEY_SCHEME: file.public.scheme,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: !hasTerminal,
    });
    const output: Buffer[] = [];
    let outputBytes = 0;
    let complaint = '';
    let verdict: string | undefined;
    const stop = (reason: string) => {
      if (verdict !== undefined) return;
      verdict = reason;
      endProgram(child.pid, !hasTerminal);
      // Whoever it started may have its pipes still: do not wait for them.
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const deadline = setTimeout(
      () => stop(`it did not end within ${timeoutSeconds} s`),
      timeoutSeconds * 1000,
    );
    child.stdout.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes > MAX_SIGNATURE_BYTES) stop(`it printed more than ${MAX_SIGNATURE_BYTES} bytes`);
      else output.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString('latin1')).slice(-KEPT_STDERR_BYTES);
    });
    child.stdin.on('error', () => undefined); // it need not read; what it prints is judged
    child.stdin.end(bytes);
    const fail = (reason: string, cause?: unknown) =>
      signingError({
        code: 'E_SIGNER_FAILED',
        message: `The command of the key "${file.name}" did not sign: ${reason}.`,
        where: path,
        found: printable(complaint.trim()) || 'nothing on its stderr',
        fix: `Run it by hand: ${file.signer.command.join(' ')}`,
        cause,
      });
    child.on('error', error => {
      clearTimeout(deadline);
      reject(
        fail(
          (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such program' : error.message,
          error,
        ),
      );
    });
    child.on('close', (code, signal) => {
      clearTimeout(deadline);
      if (verdict !== undefined) reject(fail(verdict));
      else if (code !== 0) reject(fail(signal ? `it was ended by ${signal}` : `it ended with code ${code}`));
      else resolve(Buffer.concat(output));
    });
  });
}

function endProgram(pid: number | undefined, ownSession: boolean): void {
  if (pid === undefined) return;
  try {
    process.kill(ownSession ? -pid : pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const printable = (text: string): string => text.replace(/[^\n\x20-\x7e]/g, '.').replace(/\n+/g, ' | ');
