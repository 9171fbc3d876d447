import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/** Holds all connections in one thread with a selector of java.nio. */
public class Nio {
  public static void main(String[] args) throws IOException {
    Selector selector = Selector.open();
    ServerSocketChannel server = ServerSocketChannel.open();
    server.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 4096);
    server.configureBlocking(false);
    server.register(selector, SelectionKey.OP_ACCEPT);
    ByteBuffer dropped = ByteBuffer.allocateDirect(65536);
    while (true) {
      selector.select(key -> {
        if (key.isAcceptable()) accept(server, selector);
        else receive((SocketChannel) key.channel(), dropped);
      });
    }
  }

  private static void accept(ServerSocketChannel server, Selector selector) {
    try {
      for (SocketChannel channel; (channel = server.accept()) != null; ) {
        channel.configureBlocking(false);
        channel.register(selector, SelectionKey.OP_READ);
      }
    } catch (IOException error) {
      System.err.println(error);
    }
  }

  private static void receive(SocketChannel channel, ByteBuffer dropped) {
    try {
      int count;
      while ((count = channel.read(dropped.clear())) > 0);
      if (count < 0) channel.close();
    } catch (IOException error) {
      close(channel);
    }
  }

  private static void close(SocketChannel channel) {
    try {
      channel.close();
    } catch (IOException error) {
      System.err.println(error);
    }
  }
}
