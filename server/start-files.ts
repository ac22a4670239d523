import { stat } from 'node:fs/promises';
import { fromSystemError, libError } from '../lib/errors.ts';
import { readTextBounded } from '../lib/files.ts';
import type { ServerConfig } from './config/schema.ts';
import { serverError } from './errors.ts';
import { openAuthority, readPrivateKey } from '../signing/x509/authority.ts';
import type { Authority } from '../signing/x509/authority.ts';
import { serverTlsOptions } from '../signing/x509/peer-chain.ts';
import { splitPem } from '../signing/x509/pem.ts';
import { parseCertificate } from '../signing/x509/certificate.ts';
import { loadTrust, trustFromPem } from '../signing/x509/trust.ts';
import type { TrustAnchors } from '../signing/x509/trust.ts';

/** What a server reads from its files at start. */
export interface ServerFiles {
  tls: ReturnType<typeof serverTlsOptions>;
  trust: TrustAnchors;
  pilotAuthority: Authority;
  secretKey: Buffer;
}

/**
 * Reads keys, certificates and authorities, each checked and refused by its setting's name.
 *
 * @throws E_FILE_MISSING, E_PERMISSION (a key that others can read), E_KEY_UNREADABLE, E_CERTIFICATE_UNREADABLE,
 *   E_TRUST_EMPTY, E_AUTHORITY_INVALID.
 */
export async function readServerFiles(config: ServerConfig): Promise<ServerFiles> {
  const { tls, pilotAuthority } = config;
  const certificatePem = await readTextBounded(tls.certificateFile);
  const keyPem = await readKeyFile(tls.keyFile);
  const leaf = parseCertificate(splitPem(certificatePem, tls.certificateFile)[0]!, tls.certificateFile);
  if (!leaf.x509.checkPrivateKey(readPrivateKey(keyPem, tls.keyFile))) {
    throw serverError({
      code: 'E_KEY_UNREADABLE',
      message: "The server's key does not belong to its certificate.",
      where: `${tls.keyFile} (tls.keyFile)`,
      expected: `the key of ${leaf.subjectDn}`,
      fix: 'Name the key that the certificate was made for.',
    });
  }
  const authorityPem = await readTextBounded(pilotAuthority.certificateFile);
  const authorityKeyPem = await readKeyFile(pilotAuthority.keyFile);
  readPrivateKey(authorityKeyPem, `${pilotAuthority.keyFile} (pilotAuthority.keyFile)`);
  const authority = openAuthority(authorityPem, authorityKeyPem, pilotAuthority.certificateFile);
  return {
    tls: serverTlsOptions({ certificatePem, keyPem }),
    trust: withPilotAuthority(await loadTrust(config.trustFile), authority, pilotAuthority.certificateFile),
    pilotAuthority: authority,
    secretKey: await readSecretKey(config.secretKeyFile),
  };
}

/** Users' authorities, and the pilot authority: an anchor where it is a root, else it must chain to one of them. */
function withPilotAuthority(users: TrustAnchors, authority: Authority, file: string): TrustAnchors {
  const isRoot = authority.intermediates.length === 0;
  if (!isRoot) return { ...users, intermediates: [...users.intermediates, authority.certificate] };
  const own = trustFromPem([{ file, pem: authority.certificatePem }], file);
  return { ...users, anchors: [...users.anchors, ...own.anchors] };
}

/** A file with a secret, which nobody but its owner may read. */
async function readKeyFile(path: string): Promise<string> {
  try {
    const { mode } = await stat(path);
    if (mode & 0o077) {
      throw libError({
        code: 'E_PERMISSION',
        message: 'Others than its owner can read or change a file with a private key.',
        where: path,
        expected: 'mode 0600',
        found: `mode 0${(mode & 0o777).toString(8)}`,
        fix: `chmod 600 ${path}`,
      });
    }
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, path) : error;
  }
  return readTextBounded(path, 65_536);
}

async function readSecretKey(path: string): Promise<Buffer> {
  const text = (await readKeyFile(path)).trim();
  if (/^([0-9a-fA-F]{2}){32,}$/.test(text)) return Buffer.from(text, 'hex');
  throw serverError({
    code: 'E_KEY_UNREADABLE',
    message: 'The secret key of the servers cannot be read.',
    where: `${path} (secretKeyFile)`,
    expected: 'at least 32 bytes as hexadecimal digits',
    found: `${text.length} characters of another form`,
    fix: 'Make one with: pilotage server init --dir DIR',
  });
}
