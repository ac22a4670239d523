import { generateKeyPair } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { createCsr } from '../signing/x509/csr.ts';

/** An EC P-256 key that exists in this process's memory only. */
export async function makeKey(): Promise<KeyObject> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  return privateKey;
}

/** PKCS#8 PEM of a private key: for TLS, and for the payload's credential file. */
export const keyPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' });

/** A certificate request for a key, PEM. Its name is only a hint: the server gives the name. */
export const requestCertificate = (privateKey: KeyObject, commonName: string): string =>
  createCsr({ privateKey, subject: [['CN', commonName]] });
