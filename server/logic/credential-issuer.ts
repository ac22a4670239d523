/** Certifies keys of pilots and payloads. */
export interface CredentialIssuer {
  /**
   * Reads a certificate request and checks that its maker has the key.
   *
   * @returns sha256 of the public key's SubjectPublicKeyInfo, hexadecimal: the key's name in table `credential`.
   * @throws E_BAD_REQUEST
   */
  read(csr: string): Promise<{ keySha256: string }>;
  /**
   * @returns PEM chain, leaf first, authority excluded; and for how long it holds from now: less than was asked for where
   *   the authority itself ends earlier.
   */
  issue(options: {
    csr: string;
    /** Common name: `pilot <id>` or `payload <id>`. */
    commonName: string;
    validSeconds: number;
  }): Promise<{ chain: string; validSeconds: number }>;
}
