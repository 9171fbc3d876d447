/** Makes the protocol of a client. */
import { HttpProtocol } from './http.js'
import { Message } from './message.js'
import { MqttProtocol } from './mqtt.js'
import type { Protocol, ProtocolSettings, Wire } from './protocol.js'
import { TcpProtocol } from './tcp.js'
import { WebSocketProtocol } from './websocket.js'

/**
 * Makes a protocol.
 *
 * @param payload message of each connection: a text, in which `{id}`, `{n}` and `{time}` stand for values, or bytes
 * @param expectEcho whether the message is awaited back
 */
export function protocolOf(
  wire: Wire,
  settings: ProtocolSettings,
  { payload, expectEcho }: { payload: string | Uint8Array | null; expectEcho: boolean }
): Protocol {
  const message = payload === null ? null : new Message(payload)
  switch (settings.protocol) {
    case 'tcp':
      return new TcpProtocol(wire, message, expectEcho)
    case 'http':
      return new HttpProtocol(wire, settings)
    case 'ws':
      return new WebSocketProtocol(wire, settings, { message, isBinary: typeof payload !== 'string', expectEcho })
    case 'mqtt':
      return new MqttProtocol(wire, settings, { message, expectEcho })
  }
}
