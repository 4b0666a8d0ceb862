import dev.foveal.v1.GradeExamResponse;
import dev.foveal.v1.GradeResult;
import dev.foveal.v1.Graded;
import dev.foveal.v1.PatientGrade;
import java.nio.file.Files;
import java.nio.file.Path;

/** What a careless client reads of an answer: the fields it wants, without asking which verdict there is. One line a file. */
public final class NaiveRead {
  public static void main(String[] arguments) throws Exception {
    for (String argument : arguments) {
      byte[] bytes = Files.readAllBytes(Path.of(argument));
      if (argument.endsWith(".exam")) {
        PatientGrade patient = GradeExamResponse.parseFrom(bytes).getPatient();
        print(patient.getIcdrValue(), patient.getIcdr(), patient.getReferral());
      } else {
        Graded graded = GradeResult.parseFrom(bytes).getGrade().getGraded();
        print(graded.getIcdrValue(), graded.getIcdr(), graded.getReferral());
      }
    }
  }

  private static void print(int number, Object icdr, Object referral) {
    System.out.println(number + " " + icdr + " " + referral);
  }
}
