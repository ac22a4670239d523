import packageJson from '../package.json' with { type: 'json' };

/** Version of this product: semver, the same in every component, header and record. */
export const version: string = packageJson.version;
