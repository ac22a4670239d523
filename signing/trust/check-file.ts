import { PilotageError } from '../../lib/errors.ts';
import { parseCertificate, type Certificate } from '../x509/certificate.ts';
import { displayName } from '../x509/names.ts';
import { splitPem, toPem } from '../x509/pem.ts';
import { isCrlSignedBy, parseCrl, type Crl } from './crl.ts';
import { subjectHashes } from './name-hash.ts';

/** What is wrong with one file, and what to do; of a warning, what was done. */
export interface Issue {
  severity: 'error' | 'warning';
  file: string;
  problem: string;
  fix: string;
}

/** Why a file cannot be bundled. */
export class FileProblem extends Error {
  readonly fix: string;

  constructor(problem: string, fix: string) {
    super(problem);
    this.fix = fix;
  }
}

/** An authority as a grid certificate directory has it: one certificate in a file named by the hash of its subject. */
export function checkAuthority(text: string, name: string): { certificate: Certificate; content: Buffer } {
  const ders = explained(() => splitPem(text, name), 'Replace it by the PEM certificate of the authority.');
  if (ders.length > 1) {
    throw new FileProblem(
      `it holds ${ders.length} certificates`,
      'Put each authority into a file of its own.',
    );
  }
  const certificate = explained(
    () => parseCertificate(ders[0]!, name),
    'Replace it, or leave this authority out: no verifier of ours could use it.',
  );
  if (certificate.basicConstraints?.ca !== true) {
    throw new FileProblem(`${certificate.subjectDn} is no authority`, 'Remove it from the directory.');
  }
  checkName(name, certificate.subject, certificate.subjectDn);
  return { certificate, content: Buffer.from(toPem(ders[0]!)) };
}

const crlBlock = /-----BEGIN X509 CRL-----\s+([A-Za-z0-9+/=\s]+?)-----END X509 CRL-----/;

/** A revocation list under its issuer's hash, signed by one of the authorities. */
export function checkCrl(
  text: string,
  name: string,
  authorities: readonly Certificate[],
): { crl: Crl; content: Buffer } {
  const block = crlBlock.exec(text)?.[1];
  if (block === undefined) {
    throw new FileProblem('there is no PEM revocation list in it', 'Convert it: openssl crl -inform DER.');
  }
  const crl = explained(() => parseCrl(Buffer.from(block, 'base64')), 'Fetch it again (fetch-crl).');
  const issuerDn = displayName(crl.issuer);
  checkName(name, crl.issuer, issuerDn);
  const issuers = authorities.filter(({ subject }) => subject.equals(crl.issuer));
  if (issuers.length === 0) {
    throw new FileProblem(
      `its issuer ${issuerDn} is not among the authorities`,
      'Remove it, or add the issuer.',
    );
  }
  const signed = explained(
    () => issuers.some(({ publicKey }) => isCrlSignedBy(crl, publicKey)),
    'Ask the authority for a list that is signed in an ordinary way.',
  );
  if (!signed) throw new FileProblem(`${issuerDn} did not sign it`, 'Fetch it again, over another way.');
  return { crl, content: Buffer.from(toPem(crl.der, 'X509 CRL')) };
}

/** A VOMS server's description: at least one chain of two names, the server's and its authority's. */
export function checkLsc(text: string): Buffer {
  const chains = text.split(/^-+ ?NEXT CHAIN ?-+$/im).map(chain =>
    chain
      .split('\n')
      .map(line => line.trim())
      .filter(line => line !== '' && !line.startsWith('#')),
  );
  for (const chain of chains) {
    const wrong = chain.find(line => !/^\/[A-Za-z0-9.]+=/.test(line));
    if (wrong !== undefined) {
      throw new FileProblem(`"${wrong.slice(0, 80)}" is no name`, 'Write one name to a line, /DC=…/CN=…');
    }
    if (chain.length < 2) {
      const fix = "Write the server's name and then its authority's, one to a line.";
      throw new FileProblem(`a chain in it has ${chain.length} name(s)`, fix);
    }
  }
  return Buffer.from(text);
}

/** VO policy: any JSON. */
export function checkPolicy(text: string): Buffer {
  explained(() => JSON.parse(text) as unknown, 'Correct the JSON.');
  return Buffer.from(text);
}

/** Signing policies and namespaces: text, which middleware reads in its own ways. */
export const checkText = (text: string): Buffer => Buffer.from(text);

function checkName(file: string, name: Buffer, dn: string): void {
  const { current, old } = subjectHashes(name);
  if (file.startsWith(`${current}.`) || file.startsWith(`${old}.`)) return;
  throw new FileProblem(
    `its name is not the hash of ${dn}, which is ${current} (${old} for old middleware)`,
    'Rename it, or make the names again: openssl rehash DIR.',
  );
}

function explained<T>(work: () => T, fix: string): T {
  try {
    return work();
  } catch (error) {
    const why = error instanceof PilotageError ? (error.found ?? error.message) : (error as Error).message;
    throw new FileProblem(why.replace(/\.$/, ''), fix);
  }
}
