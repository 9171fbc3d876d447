/** What a hub knows of a connection that moves to another process, besides its row: as text, read with distrust. */
import { broken } from '../orders.js'
import { checkTags } from './tags.js'

/** What a hub knows of a connection. */
export interface MovedMember {
  protocol: string
  tags: readonly string[]
  /** Whether nothing has come since the last ping. */
  awaiting: boolean
  /** Whether an automatic response waits. */
  answering: boolean
  /** When the connection last got an automatic response, in ms since 1970; 0: never. */
  answered: number
}

const NOTHING: MovedMember = { protocol: '', tags: [], awaiting: false, answering: false, answered: 0 }

/** Returns it as bytes of Latin-1; empty if there is nothing to tell. */
export function encodeMember({ protocol, tags, awaiting, answering, answered }: MovedMember): string {
  if (protocol === '' && tags.length === 0 && !awaiting && !answering && answered === 0) return ''
  const json = JSON.stringify([protocol, tags, awaiting, answering, answered])
  return Buffer.from(json).toString('latin1')
}

/** Returns what {@link encodeMember} has made. @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid */
export function decodeMember(text: string): MovedMember {
  if (text === '') return NOTHING
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(text, 'latin1').toString())
  } catch {
    throw broken('what the hub knows is not JSON')
  }
  const [protocol, tags, awaiting, answering, answered] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof protocol !== 'string' || typeof awaiting !== 'boolean' || typeof answering !== 'boolean') {
    throw broken('what the hub knows is not complete')
  }
  if (!Number.isSafeInteger(answered) || (answered as number) < 0) throw broken('a time is not valid')
  return { protocol, tags: validTags(tags), awaiting, answering, answered: answered as number }
}

function validTags(tags: unknown): string[] {
  try {
    return checkTags(tags)
  } catch {
    throw broken('tags are not valid')
  }
}
