import { AgentConfig } from './config/schema.ts';

export interface AgentFlag {
  /** `idle-seconds` */
  flag: string;
  /** `idleSeconds` */
  key: string;
  description: string;
}

/** One flag for each setting of agent/config/schema.ts. */
export const agentFlags: readonly AgentFlag[] = Object.entries(AgentConfig.shape).map(([key, field]) => ({
  flag: key.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`),
  key,
  description: field.description ?? '',
}));

/** A flag's text as the value it means: JSON where it is JSON, a list where commas separate words, else the text. */
export function flagValue(key: string, text: string): unknown {
  if (key === 'labels' && !text.startsWith('[')) return text.split(',');
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
